//! What a request gets.

use std::{convert::Infallible, fmt::Write as _, path::Path, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use nix::dir::Type;
use tokio::io::AsyncReadExt;

use super::ask::Asked;
use crate::report::{
    escape,
    html::{self, Links},
    reading::{Detail, Folder, read_run},
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Bytes of a file read at a time.
const CHUNK: usize = 64 << 10;
/// What a file or a listing may do in a browser: be looked at.
const INERT: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox";

/// Answers.
pub(super) async fn reply(run: &Arc<Path>, asked: Asked) -> Response<Body> {
    match asked {
        Asked::Page(detail) => page(run.clone(), detail).await,
        Asked::File(name) => file(run, &name).await,
        Asked::Nothing => plain(StatusCode::NOT_FOUND, "not found\n"),
        Asked::Method => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            response
        }
    }
}

async fn page(run: Arc<Path>, detail: Detail) -> Response<Body> {
    let made = tokio::task::spawn_blocking(move || {
        let view = read_run(&run, &detail).map_err(|why| why.to_string())?;
        html::html(&view, Links::Files).map_err(|why| why.to_string())
    });
    match made.await {
        Ok(Ok(text)) => {
            let policy = format!("{}; frame-ancestors 'none'", html::policy());
            guarded(StatusCode::OK, "text/html; charset=utf-8", &policy, whole(text.into()))
        }
        Ok(Err(why)) => plain(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made\n"),
    }
}

async fn file(run: &Path, name: &[u8]) -> Response<Body> {
    let Ok(folder) = Folder::open(run) else {
        return plain(StatusCode::NOT_FOUND, "the run's directory is gone\n");
    };
    if name.is_empty() || name.ends_with(b"/") {
        return match folder.entries(name.strip_suffix(b"/").unwrap_or(name)) {
            Ok((entries, more)) => {
                let text = listing(name, &entries, more);
                guarded(StatusCode::OK, "text/html; charset=utf-8", INERT, whole(text.into()))
            }
            Err(_) => plain(StatusCode::NOT_FOUND, "not found\n"),
        };
    }
    let Ok((file, length)) = folder.file(name) else {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    };
    let file = tokio::fs::File::from_std(file).take(length);
    let chunks = futures_util::stream::unfold(file, |mut file| async move {
        let mut buffer = vec![0; CHUNK];
        match file.read(&mut buffer).await {
            // A file that cannot be read further ends early, which its length tells.
            Ok(0) | Err(_) => None,
            Ok(got) => {
                buffer.truncate(got);
                Some((Ok(Frame::data(Bytes::from(buffer))), file))
            }
        }
    });
    // Text, whatever it is: nothing of it is ever run or drawn.
    let body = BodyExt::boxed_unsync(StreamBody::new(chunks));
    let mut response = guarded(StatusCode::OK, "text/plain; charset=utf-8", INERT, body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// A directory as a list of links.
fn listing(name: &[u8], entries: &[(Vec<u8>, Type)], more: usize) -> String {
    let shown = text(&escape(name, 400));
    let mut out = format!("<!doctype html><meta charset=\"utf-8\"><title>{shown}</title><h1>/{shown}</h1><ul>");
    if !name.is_empty() {
        out.push_str("<li><a href=\"../\">..</a></li>");
    }
    for (name, kind) in entries {
        let slash = if *kind == Type::Directory { "/" } else { "" };
        let label = text(&escape(name, 300));
        let _ = match kind {
            Type::Directory | Type::File => {
                write!(out, "<li><a href=\"./{}{slash}\">{label}{slash}</a></li>", link(name))
            }
            // A link or a device is named and leads nowhere.
            _ => write!(out, "<li>{label} (not shown)</li>"),
        };
    }
    if more > 0 {
        let _ = write!(out, "<li>{more} more</li>");
    }
    out.push_str("</ul>");
    out
}

fn link(name: &[u8]) -> String {
    name.iter().map(|byte| format!("%{byte:02x}")).collect()
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    guarded(
        status,
        "text/plain; charset=utf-8",
        INERT,
        whole(text.to_owned().into()),
    )
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}

/// A response with the headers that every one has.
fn guarded(status: StatusCode, kind: &'static str, policy: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert("content-security-policy", policy);
    }
    response
}
