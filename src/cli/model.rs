//! Which model is asked, where, and with which key: one rule for every verb.

use std::path::PathBuf;

use super::{
    args::RunArgs,
    surroundings::{Origin, Setting, Surroundings},
};
use crate::{broker, engine::ModelChoice, env, record::Secret};

/// Variables that name a model, in their order.
const MODELS: [&str; 3] = ["AIDER_FSM_MODEL", "OPENAI_MODEL", "LITELLM_CHAT_MODEL"];
/// Where the provider `openai` is.
const OPENAI: &str = "https://api.openai.com/v1";
/// What is asked for where an endpoint is named and no model.
const DEFAULT_MODEL: &str = "openai/gpt-4o-mini";

/// What was found out about the model of a run.
pub(super) struct Resolved {
    /// The model, or why there is none.
    pub choice: Result<ModelChoice, String>,
    /// As it is shown: `provider/model` or `cassette:FILE`.
    pub model: Option<Setting<String>>,
    /// The endpoint; a cassette has none.
    pub base_url: Option<Setting<String>>,
    /// The endpoint's key.
    pub api_key: Option<Setting<Secret>>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Resolves model, endpoint and key from flags, then variables, then the host's configuration.
pub(super) async fn resolve(args: &RunArgs, around: &Surroundings) -> Resolved {
    let named = flag(args.model.as_deref())
        .or_else(|| MODELS.iter().find_map(|name| around.variable(name)))
        .or_else(|| around.configured("model"));
    let mut found = Resolved {
        choice: Err(no_model()),
        model: None,
        base_url: None,
        api_key: around.variable("OPENAI_API_KEY").map(|key| Setting {
            value: Secret::new(key.value),
            origin: key.origin,
        }),
        warnings: Vec::new(),
    };
    if args.opencode_url.is_some() {
        found.api_key = None;
        found.choice = of_the_server(named.as_ref().map(|model| model.value.as_str()));
        found.model = named;
        return found;
    }
    if let Some(file) = named.as_ref().and_then(|model| model.value.strip_prefix("cassette:")) {
        found.choice = Ok(ModelChoice::Cassette(PathBuf::from(file)));
        found.model = named;
        return found;
    }
    found.base_url = endpoint(args.base_url.as_deref(), around, &mut found.warnings).await;
    let Some(model) = named.or_else(|| found.default_model()) else {
        return found;
    };
    let (provider, id) = match model.value.split_once('/') {
        // The host never starts OpenCode to ask which provider has it.
        None => ("openai", model.value.as_str()),
        Some(both) => both,
    };
    if provider.is_empty() || id.is_empty() {
        let shown = model.value.escape_debug();
        found.choice = Err(format!(
            "model `{shown}`: `provider/model`, a model of `openai`, or `cassette:FILE` is expected"
        ));
        return found;
    }
    if found.base_url.is_none() && provider == "openai" {
        found.base_url = Some(Setting {
            value: OPENAI.to_owned(),
            origin: Origin::Default,
        });
    }
    found.choice = match &found.base_url {
        Some(base) => Ok(ModelChoice::Endpoint {
            base_url: base.value.clone(),
            provider: provider.to_owned(),
            model: id.to_owned(),
        }),
        None => Err(format!(
            "where is provider `{}`? give --base-url, or set OPENAI_BASE_URL or OPENAI_API_BASE",
            provider.escape_debug()
        )),
    };
    found.model = Some(Setting {
        value: format!("{provider}/{id}"),
        origin: model.origin,
    });
    found
}

/// Where the models of a target's stages are: the endpoint, else OpenAI's own where there
/// is a key; nothing where there is neither.
pub(super) async fn of_stages(
    given: Option<&str>,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Option<env::Endpoint> {
    let base_url = endpoint(given, around, warnings).await.map(|found| found.value);
    let key = around.variable("OPENAI_API_KEY").map(|key| Secret::new(key.value));
    match (base_url, key) {
        (None, None) => None,
        (base_url, key) => Some(env::Endpoint {
            base_url: base_url.unwrap_or_else(|| OPENAI.to_owned()),
            key,
        }),
    }
}

impl Resolved {
    /// A model that needs no endpoint.
    pub fn of(choice: ModelChoice) -> Self {
        Self {
            choice: Ok(choice),
            model: None,
            base_url: None,
            api_key: None,
            warnings: Vec::new(),
        }
    }

    /// The model of an endpoint that is named, by its URL or by a key for it.
    fn default_model(&self) -> Option<Setting<String>> {
        (self.base_url.is_some() || self.api_key.is_some()).then(|| Setting {
            value: DEFAULT_MODEL.to_owned(),
            origin: Origin::Default,
        })
    }
}

/// `--base-url`, else `OPENAI_BASE_URL`, else `OPENAI_API_BASE` if something answers
/// there, else the configuration. With `--env-override`, `OPENAI_API_BASE` comes before
/// `OPENAI_BASE_URL`.
async fn endpoint(given: Option<&str>, around: &Surroundings, warnings: &mut Vec<String>) -> Option<Setting<String>> {
    if let Some(given) = flag(given) {
        return Some(given);
    }
    let named = around.variable("OPENAI_BASE_URL");
    if (named.is_none() || around.file_wins())
        && let Some(base) = around.variable("OPENAI_API_BASE")
    {
        match broker::api_base(&base.value).await {
            Ok(value) => {
                let origin = base.origin;
                return Some(Setting { value, origin });
            }
            Err(why) => warnings.push(format!(
                "OPENAI_API_BASE is not used, {why}; OPENAI_BASE_URL and --base-url are taken without asking"
            )),
        }
    }
    named.or_else(|| around.configured("base_url"))
}

/// What a server of the user's is asked for: it has its own providers and keys.
fn of_the_server(named: Option<&str>) -> Result<ModelChoice, String> {
    match named.map(|model| (model, model.split_once('/'))) {
        None => Ok(ModelChoice::OfTheServer(None)),
        Some((_, Some((provider, id)))) if !provider.is_empty() && !id.is_empty() && !provider.contains(':') => {
            Ok(ModelChoice::OfTheServer(Some((provider.to_owned(), id.to_owned()))))
        }
        Some((model, _)) => Err(format!(
            "model `{}`: the server at --opencode-url asks its own providers: `provider/model` is expected, or nothing",
            model.escape_debug()
        )),
    }
}

/// A flag that is not blank.
fn flag(given: Option<&str>) -> Option<Setting<String>> {
    given.filter(|text| !text.trim().is_empty()).map(|text| Setting {
        value: text.to_owned(),
        origin: Origin::Flag,
    })
}

fn no_model() -> String {
    format!(
        "no model is named: give --model, or set one of {}; with OPENAI_API_KEY, OPENAI_BASE_URL or OPENAI_API_BASE set, {DEFAULT_MODEL} is asked for",
        MODELS.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Verb};
    use clap::Parser;

    async fn resolved(flags: &[&str], variables: &[(&str, &str)]) -> Resolved {
        let argv = ["opencode-fsm", "run"].iter().chain(flags);
        let Verb::Run(args) = Cli::try_parse_from(argv).expect("parses").verb else {
            panic!("a run")
        };
        resolve(&args, &Surroundings::of_variables(variables)).await
    }

    fn endpoint_of(found: &Resolved) -> (String, String, String) {
        match found.choice.as_ref().expect("a model") {
            ModelChoice::Endpoint {
                base_url,
                provider,
                model,
            } => (base_url.clone(), provider.clone(), model.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn three(a: &str, b: &str, c: &str) -> (String, String, String) {
        (a.to_owned(), b.to_owned(), c.to_owned())
    }

    #[tokio::test]
    async fn the_first_that_names_a_model_wins() {
        let all = [
            ("AIDER_FSM_MODEL", "p/1"),
            ("OPENAI_MODEL", "p/2"),
            ("LITELLM_CHAT_MODEL", "p/3"),
            ("OPENAI_BASE_URL", "http://x/v1"),
        ];
        let origin = |found: &Resolved| found.model.as_ref().expect("model").origin.to_string();
        let found = resolved(&["--model", "p/0"], &all).await;
        assert_eq!(
            (endpoint_of(&found), origin(&found)),
            (three("http://x/v1", "p", "0"), "flag".to_owned())
        );
        for from in 0..3 {
            let found = resolved(&["--model", " "], &all[from..]).await;
            assert_eq!(endpoint_of(&found).2, (from + 1).to_string());
            assert_eq!(origin(&found), format!("env {}", all[from].0));
        }
    }

    #[tokio::test]
    async fn a_bare_name_is_openais_and_no_name_needs_an_endpoint() {
        let found = resolved(&["--model", "gpt-x"], &[]).await;
        assert_eq!(endpoint_of(&found), three(OPENAI, "openai", "gpt-x"));
        let found = resolved(&["--model", "local/qwen/3", "--base-url", "http://y/v1"], &[]).await;
        assert_eq!(endpoint_of(&found), three("http://y/v1", "local", "qwen/3"));
        let found = resolved(&[], &[("OPENAI_API_KEY", "sk-1")]).await;
        assert_eq!(endpoint_of(&found), three(OPENAI, "openai", "gpt-4o-mini"));
        let why = resolved(&[], &[]).await.choice.expect_err("no model");
        for name in MODELS
            .iter()
            .chain(&["OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY", "--model"])
        {
            assert!(why.contains(name), "{name}: {why}");
        }
        for (bad, names) in [
            ("/x", "provider/model"),
            ("x/", "provider/model"),
            ("other/x", "--base-url"),
        ] {
            let why = resolved(&["--model", bad], &[]).await.choice.expect_err(bad);
            assert!(why.contains(names), "{why}");
        }
        let found = resolved(&["--model", "cassette:a/b"], &[]).await;
        assert_eq!(found.choice, Ok(ModelChoice::Cassette("a/b".into())));
    }

    #[tokio::test]
    async fn the_old_base_is_used_where_it_answers_and_named_where_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let found = resolved(&["--model", "m"], &[("OPENAI_API_BASE", &address)]).await;
        assert_eq!(endpoint_of(&found).0, format!("http://{address}/v1"));
        assert!(found.warnings.is_empty());
        // An explicit OPENAI_BASE_URL comes first.
        let both = [
            ("OPENAI_API_BASE", address.as_str()),
            ("OPENAI_BASE_URL", "http://x/v1"),
        ];
        assert_eq!(endpoint_of(&resolved(&["--model", "m"], &both).await).0, "http://x/v1");
        drop(listener);
        let found = resolved(&["--model", "m"], &[("OPENAI_API_BASE", &address)]).await;
        assert_eq!(endpoint_of(&found).0, OPENAI, "left as it was");
        assert!(found.warnings[0].contains("OPENAI_API_BASE"), "{:?}", found.warnings);
    }
}
