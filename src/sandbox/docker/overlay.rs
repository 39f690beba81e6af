//! The workspace: an overlay that the engine mounts, so that who asks needs no root.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use bollard::models::{Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig};

/// Longest option string: mount(2) takes one page.
const LONGEST: usize = 4000;

/// The volume of a workspace: `lowers` lowest first, `upper` and `work` below `scratch`.
/// It has no name, so that the engine removes it with its container.
///
/// # Errors
/// A path that the engine's option string cannot hold, named.
pub(super) fn volume(
    target: &str,
    lowers: &[PathBuf],
    scratch: &Path,
    labels: HashMap<String, String>,
) -> Result<Mount, String> {
    // overlayfs wants the topmost layer first.
    let lowers: Vec<&str> = lowers.iter().rev().map(|path| plain(path)).collect::<Result<_, _>>()?;
    let scratch = plain(scratch)?;
    // Without `volatile`: its mark in the work directory could not be removed by an
    // ordinary user. The format of the layers is that of `userxattr` (overlayfs.rst); the
    // engine knows the words that are flags of mount(2).
    let options = format!(
        "lowerdir={},upperdir={scratch}/upper,workdir={scratch}/work,userxattr,nosuid,nodev",
        lowers.join(":")
    );
    if options.len() > LONGEST {
        return Err(format!(
            "the paths of its layers take {} bytes and the engine hands on {LONGEST}; set XDG_CACHE_HOME to a shorter path",
            options.len()
        ));
    }
    let options = [("type", "overlay"), ("device", "overlay"), ("o", &options)];
    Ok(Mount {
        typ: Some(MountType::VOLUME),
        target: Some(target.to_owned()),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            labels: Some(labels),
            driver_config: Some(MountVolumeOptionsDriverConfig {
                name: Some("local".to_owned()),
                options: Some(options.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            }),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    })
}

/// A path that means the same in an option string.
fn plain(path: &Path) -> Result<&str, String> {
    path.to_str()
        .filter(|text| !text.contains([',', ':', '\\', '"', '\n']))
        .ok_or_else(|| {
            format!(
                "the engine cannot mount {:?}: its path has a comma, colon, quote or backslash; set XDG_CACHE_HOME to another",
                path.display().to_string()
            )
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(lowers: &[&str], scratch: &str) -> Result<String, String> {
        let lowers: Vec<PathBuf> = lowers.iter().map(PathBuf::from).collect();
        let mount = volume("/workspace", &lowers, Path::new(scratch), HashMap::new())?;
        let driver = mount
            .volume_options
            .and_then(|v| v.driver_config)
            .and_then(|d| d.options);
        Ok(driver.expect("options")["o"].clone())
    }

    #[test]
    fn the_topmost_layer_comes_first() {
        assert_eq!(
            options(&["/a", "/b"], "/s").expect("plain"),
            "lowerdir=/b:/a,upperdir=/s/upper,workdir=/s/work,userxattr,nosuid,nodev"
        );
    }

    #[test]
    fn paths_that_would_be_other_options_are_refused() {
        for path in ["/a,upperdir=/etc", "/a:/etc", "/a\\", "/a\"", "/a\nb"] {
            assert!(options(&[path], "/s").is_err(), "{path}");
            assert!(options(&["/a"], path).is_err(), "{path}");
        }
        let long = format!("/{}", "x".repeat(2000));
        assert!(
            options(&[&long, &long], "/s")
                .expect_err("long")
                .contains("XDG_CACHE_HOME")
        );
    }

    proptest! {
        #[test]
        fn what_the_engine_reads_is_what_was_meant(
            lowers in prop::collection::vec("/[ -~\u{e9}]{1,40}", 1..6),
            scratch in "/[ -~\u{e9}]{1,40}",
        ) {
            let paths: Vec<&str> = lowers.iter().map(String::as_str).collect();
            let special = |path: &&str| path.contains([',', ':', '\\', '"', '\n']);
            let any = paths.iter().chain([&scratch.as_str()]).any(special);
            match options(&paths, &scratch) {
                Err(_) => prop_assert!(any, "refused without reason"),
                Ok(text) => {
                    prop_assert!(!any && text.len() <= LONGEST);
                    // As the engine and then overlayfs take it apart.
                    let fields: Vec<&str> = text.split(',').collect();
                    let read: Vec<&str> = fields[0].strip_prefix("lowerdir=").expect("layers").split(':').rev().collect();
                    prop_assert_eq!(read, paths);
                    prop_assert_eq!(fields[1], format!("upperdir={scratch}/upper"));
                    prop_assert_eq!(fields[2], format!("workdir={scratch}/work"));
                    prop_assert_eq!(&fields[3..], &["userxattr", "nosuid", "nodev"][..]);
                }
            }
        }
    }

    #[test]
    fn a_path_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let bytes = Path::new(std::ffi::OsStr::from_bytes(b"/a\xff"));
        assert!(volume("/workspace", &[bytes.to_path_buf()], Path::new("/s"), HashMap::new()).is_err());
    }
}
