//! A command line with what is around it: flag, then variable, then configuration, then default.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, parser::ValueSource};

use super::{
    args::{Cli, PATH_KEYS},
    surroundings::{Config, Origin, Setting, Surroundings},
};
use crate::engine::EngineError;

/// Keys that variables of the environment come before; see [`super::model`].
const RESOLVED: [&str; 2] = ["model", "base_url"];

/// A command line whose gaps the host's configuration has filled.
pub(super) struct Invocation {
    pub cli: Cli,
    pub around: Surroundings,
    /// The verb's own grammar and matches, for showing where each value comes from.
    command: Command,
    matches: ArgMatches,
    /// Arguments that the configuration gave a default.
    configured: BTreeMap<String, Origin>,
}

impl Invocation {
    /// Reads `argv` again, with what is around it in place of the defaults.
    ///
    /// # Errors
    /// [`EngineError::Usage`] when the configuration holds a value that its flag would refuse.
    pub fn complete(argv: &[OsString], around: Surroundings) -> Result<Self, EngineError> {
        let mut grammar = Cli::command();
        if let Some(config) = &around.config {
            check(config)?;
            for verb in grammar.clone().get_subcommands().map(|verb| verb.get_name().to_owned()) {
                grammar = grammar.mut_subcommand(verb, |verb| filled(verb, config));
            }
        }
        let usage = |why: clap::Error| EngineError::Usage(one_line(&why));
        let all = grammar.clone().try_get_matches_from(argv).map_err(usage)?;
        let cli = Cli::from_arg_matches(&all).map_err(usage)?;
        let (name, matches) = all
            .subcommand()
            .ok_or_else(|| EngineError::Usage("a verb is needed".to_owned()))?;
        let matches = matches.clone();
        let command = grammar.find_subcommand(name).cloned().unwrap_or_default();
        let configured = command
            .get_arguments()
            .filter_map(|arg| {
                let setting = around.configured(arg.get_id().as_str())?;
                Some((arg.get_id().to_string(), setting.origin))
            })
            .collect();
        Ok(Self {
            cli,
            around,
            command,
            matches,
            configured,
        })
    }

    /// Every argument of the verb that a user can give, by its long name: the values as
    /// spelled (none where there is no value) and where they come from.
    pub fn arguments(&self) -> impl Iterator<Item = (String, Setting<Vec<String>>)> {
        self.command
            .get_arguments()
            .filter(|arg| !arg.is_hide_set())
            .map(|arg| {
                let id = arg.get_id().as_str();
                let given = self.matches.get_raw(id).into_iter().flatten();
                let value = given.map(|value| value.to_string_lossy().into_owned()).collect();
                let origin = match self.matches.value_source(id) {
                    Some(ValueSource::CommandLine) => Origin::Flag,
                    _ => self.configured.get(id).cloned().unwrap_or(Origin::Default),
                };
                (arg.get_long().unwrap_or(id).to_owned(), Setting { value, origin })
            })
    }
}

/// A verb's grammar with the configuration's values for defaults.
fn filled(mut verb: Command, config: &Config) -> Command {
    for entry in config.entries.iter().filter(|entry| !RESOLVED.contains(&entry.key)) {
        if verb.get_arguments().any(|arg| arg.get_id().as_str() == entry.key) {
            let value = entry.value.clone();
            verb = verb.mut_arg(entry.key, |arg| arg.default_value(value));
        }
    }
    verb
}

/// Asks each value's flag whether it takes it.
fn check(config: &Config) -> Result<(), EngineError> {
    let grammar = Cli::command();
    for entry in &config.entries {
        let place = format!("{}:{}:{}", config.path.display(), entry.line, entry.column);
        if PATH_KEYS.contains(&entry.key) && !entry.value.starts_with('/') {
            let key = entry.key;
            return Err(EngineError::Usage(format!("{place}: `{key}` must be an absolute path")));
        }
        let flag = format!("--{}={}", entry.key.replace('_', "-"), entry.value);
        if let Err(why) = grammar.clone().try_get_matches_from(["opencode-fsm", "run", &flag]) {
            return Err(EngineError::Usage(format!("{place}: {}", one_line(&why))));
        }
    }
    Ok(())
}

/// The first paragraph of clap's message, in one line.
pub(super) fn one_line(why: &clap::Error) -> String {
    let text = why.render().to_string();
    let lines = text
        .trim_start_matches("error: ")
        .lines()
        .take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::args::{CONFIG_KEYS, Verb},
        contract::parse_config,
    };

    fn complete(argv: &[&str], config: &str) -> Result<Invocation, EngineError> {
        let mut around = Surroundings::default();
        around.config = Some(Config {
            path: "/c/config.yml".into(),
            entries: parse_config(config.as_bytes(), &CONFIG_KEYS).expect("reads"),
        });
        let argv: Vec<OsString> = ["opencode-fsm"].iter().chain(argv).map(Into::into).collect();
        Invocation::complete(&argv, around)
    }

    fn origin(of: &Invocation, name: &str) -> (Vec<String>, String) {
        let (_, setting) = of.arguments().find(|(found, _)| found == name).expect("known");
        (setting.value, setting.origin.to_string())
    }

    #[test]
    fn a_flag_comes_before_the_configuration_and_that_before_the_default() {
        let config = "memory: 2G\nmax_iters: 7\n";
        let run = complete(&["run", "--max-iters", "3"], config).expect("completes");
        let one = |value: &str, origin: &str| (vec![value.to_owned()], origin.to_owned());
        assert_eq!(origin(&run, "max-iters"), one("3", "flag"));
        assert_eq!(origin(&run, "memory"), one("2G", "config /c/config.yml:1"));
        assert_eq!(origin(&run, "disk"), one("4G", "default"));
        let Verb::Run(args) = &run.cli.verb else {
            panic!("a run")
        };
        assert_eq!((args.max_iters, args.target.memory), (3, 2 << 30));
        // Verbs that know the key have it, others do not mind.
        let verify = complete(&["verify"], config).expect("completes");
        assert_eq!(origin(&verify, "memory").1, "config /c/config.yml:1");
        complete(&["doctor"], config).expect("completes");
    }

    #[test]
    fn a_value_that_its_flag_would_refuse_is_named_with_its_place() {
        for (config, expected) in [
            ("disk: 4G\nmemory: 4GB\n", "/c/config.yml:2:9: "),
            ("max_iters: 0\n", "/c/config.yml:1:12: "),
            ("max_fix: -1\n", "/c/config.yml:1:10: "),
            ("opencode_bash: some\n", "/c/config.yml:1:16: "),
            ("min_tier: none\n", "/c/config.yml:1:11: "),
            (
                "artifacts_dir: runs\n",
                "/c/config.yml:1:16: `artifacts_dir` must be an absolute path",
            ),
        ] {
            let why = complete(&["doctor"], config).err().expect(config).to_string();
            assert!(why.starts_with(expected) && !why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn every_key_of_the_configuration_is_a_flag_of_run() {
        let grammar = Cli::command();
        let run = grammar.find_subcommand("run").expect("run");
        for key in CONFIG_KEYS {
            let arg = run.get_arguments().find(|arg| arg.get_id().as_str() == key);
            let long = arg.and_then(|arg| arg.get_long()).map(str::to_owned);
            assert_eq!(long.as_deref(), Some(key.replace('_', "-").as_str()));
        }
        for key in PATH_KEYS {
            assert!(CONFIG_KEYS.contains(&key));
        }
    }
}
