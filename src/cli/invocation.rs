//! A command line with what is around it: flag, then variable, then configuration, then default.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, parser::ValueSource};

use super::{
    args::{CONFIG_KEYS, Cli, PATH_KEYS, RunArgs},
    surroundings::{Origin, Setting, Surroundings},
    target::TargetArgs,
};
use crate::{
    engine::EngineError,
    policy::{Layer, Policy, SettingValue},
};

/// Keys whose variables say more than one value, and are read by [`super::model`].
const RESOLVED: [&str; 2] = ["model", "base_url"];
/// Flags that a variable gives as well, and its name.
const VARIABLES: [(&str, &str); 10] = [
    ("max_cmd", "AIDER_FSM_MAX_CMD_SECONDS"),
    ("max_total", "AIDER_FSM_MAX_TOTAL_SECONDS"),
    ("max_run", "AIDER_FSM_MAX_RUN_SECONDS"),
    ("max_silence", "AIDER_FSM_MAX_SILENCE_SECONDS"),
    ("sandbox", "OPENCODE_FSM_SANDBOX"),
    ("image", "OPENCODE_FSM_IMAGE"),
    ("jobs", "OPENCODE_FSM_JOBS"),
    ("fetch_timeout", "AIDER_FSM_GIT_CLONE_TIMEOUT_SECONDS"),
    ("hf_max_total", "AIDER_FSM_HF_MAX_TOTAL_BYTES"),
    ("hf_max_file", "AIDER_FSM_HF_MAX_FILE_BYTES"),
];

/// What a contract says something about, too: a policy's word is no flag's
/// ([`crate::engine::StageTime`]).
const BY_CONTRACT: [&str; 2] = ["max_cmd", "max_total"];

/// A command line whose gaps variables and the host's configuration have filled.
pub(super) struct Invocation {
    pub cli: Cli,
    pub around: Surroundings,
    /// The verb's own grammar and matches, for showing where each value comes from.
    command: Command,
    matches: ArgMatches,
    /// Where the values come from that stand in for defaults, by the argument's id.
    filled: BTreeMap<&'static str, Origin>,
}

impl Invocation {
    /// Reads `argv` again, with what is around it in place of the defaults.
    ///
    /// # Errors
    /// [`EngineError::Usage`] for a value there that its flag would refuse.
    pub fn complete(argv: &[OsString], around: Surroundings) -> Result<Self, EngineError> {
        check(&around)?;
        let fillings = fillings(&around)?;
        let mut grammar = Cli::command();
        grammar = filled(grammar, &fillings);
        let usage = |why: clap::Error| EngineError::Usage(one_line(&why));
        let all = grammar.clone().try_get_matches_from(argv).map_err(usage)?;
        let cli = Cli::from_arg_matches(&all).map_err(usage)?;
        let (mut command, mut matches) = (&grammar, &all);
        while let Some((name, below)) = matches.subcommand() {
            command = command
                .find_subcommand(name)
                .ok_or_else(|| EngineError::Usage("a verb is needed".to_owned()))?;
            matches = below;
        }
        let (command, matches) = (command.clone(), matches.clone());
        let filled = fillings.into_iter().map(|(id, setting)| (id, setting.origin)).collect();
        Ok(Self {
            cli,
            around,
            command,
            matches,
            filled,
        })
    }

    /// What holds: the policies, and what the user gives in place of their values.
    ///
    /// # Errors
    /// [`EngineError::Usage`] for hosts that are allowed where the network is not.
    pub fn policy(&self, target: &TargetArgs, run: Option<&RunArgs>) -> Result<Policy, EngineError> {
        let mut policy = match &self.around.policy {
            Some(policy) => policy.clone(),
            None => Policy::shipped()?,
        };
        for (name, value) in target
            .settings()
            .into_iter()
            .chain(run.into_iter().flat_map(RunArgs::settings))
        {
            let Some(long) = name.flag().map(|key| key.replace('_', "-")) else {
                continue;
            };
            let origin = self
                .arguments()
                .find(|(known, _)| *known == long)
                .map(|(_, setting)| setting.origin);
            match origin {
                Some(Origin::Flag) => policy.overrule(name, value, format!("--{long}")),
                Some(origin @ (Origin::Variable { .. } | Origin::Config { .. })) => {
                    policy.overrule(name, value, origin.to_string());
                }
                _ => {}
            }
        }
        // The first that is given is the first that is asked.
        for rule in target.allow_hosts.iter().rev() {
            policy.allow_host(rule.clone(), format!("--allow-host {rule}"));
        }
        if let (false, Some(first)) = (policy.network().opens_door(), target.allow_hosts.first()) {
            return Err(EngineError::Usage(format!(
                "--allow-host {first}: programs inside reach hosts with --network allow alone, which is not given"
            )));
        }
        Ok(policy)
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
                    _ => self.filled.get(id).cloned().unwrap_or(Origin::Default),
                };
                (arg.get_long().unwrap_or(id).to_owned(), Setting { value, origin })
            })
    }
}

/// What stands in for the defaults of flags: variables, else the configuration.
fn fillings(around: &Surroundings) -> Result<BTreeMap<&'static str, Setting<String>>, EngineError> {
    let mut found = BTreeMap::new();
    from_policy(around, Layer::Host, &mut found);
    for key in CONFIG_KEYS.into_iter().filter(|key| !RESOLVED.contains(key)) {
        if let Some(setting) = around.configured(key) {
            found.insert(key, setting);
        }
    }
    from_policy(around, Layer::Named, &mut found);
    for (key, name) in VARIABLES {
        if let Some(setting) = around.bound(name) {
            let value = setting.value.trim().to_owned();
            refused(key, &value).map_or(Ok(()), |why| {
                Err(EngineError::Usage(format!("{}: {why}", setting.origin)))
            })?;
            found.insert(key, Setting { value, ..setting });
        }
    }
    Ok(found)
}

/// What one layer of the policy says in place of flags. The shipped default says what the
/// flags do by themselves.
fn from_policy(around: &Surroundings, layer: Layer, found: &mut BTreeMap<&'static str, Setting<String>>) {
    let settings = around.policy.iter().flat_map(Policy::settings);
    for (name, said) in settings.filter(|(_, said)| said.origin.layer() == layer) {
        let Some(key) = name.flag().filter(|key| !BY_CONTRACT.contains(key)) else {
            continue;
        };
        match said.value {
            // A flag that is not given sets no cap.
            SettingValue::Unlimited => drop(found.remove(key)),
            value => {
                let setting = Setting {
                    value: value.to_string(),
                    origin: Origin::Policy(said.origin.to_string()),
                };
                found.insert(key, setting);
            }
        }
    }
}

/// A verb's grammar, and that of the verbs below it, with those values for defaults.
fn filled(mut verb: Command, fillings: &BTreeMap<&'static str, Setting<String>>) -> Command {
    let below: Vec<String> = verb
        .get_subcommands()
        .map(|below| below.get_name().to_owned())
        .collect();
    for name in below {
        verb = verb.mut_subcommand(name, |below| filled(below, fillings));
    }
    for (key, setting) in fillings {
        if verb.get_arguments().any(|arg| arg.get_id().as_str() == *key) {
            let value = setting.value.clone();
            verb = verb.mut_arg(key, |arg| arg.default_value(value));
        }
    }
    let further: Vec<String> = verb.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for name in further {
        verb = verb.mut_subcommand(name, |verb| filled(verb, fillings));
    }
    verb
}

/// Asks each flag of the configuration whether it takes its value.
fn check(around: &Surroundings) -> Result<(), EngineError> {
    let Some(config) = &around.config else {
        return Ok(());
    };
    for entry in &config.entries {
        let place = format!("{}:{}:{}", config.path.display(), entry.line, entry.column);
        if PATH_KEYS.contains(&entry.key) && !entry.value.starts_with('/') {
            let key = entry.key;
            return Err(EngineError::Usage(format!("{place}: `{key}` must be an absolute path")));
        }
        if let Some(why) = refused(entry.key, &entry.value) {
            return Err(EngineError::Usage(format!("{place}: {why}")));
        }
    }
    Ok(())
}

/// Why the flag of `key` would not take a value.
fn refused(key: &str, value: &str) -> Option<String> {
    let flag = format!("--{}={value}", key.replace('_', "-"));
    let parsed = Cli::command().try_get_matches_from(["opencode-fsm", "run", &flag]);
    parsed.err().map(|why| one_line(&why))
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
        cli::{args::Verb, surroundings::Config},
        contract::parse_config,
    };

    fn complete(argv: &[&str], config: &str) -> Result<Invocation, EngineError> {
        completed(argv, config, &[])
    }

    fn completed(argv: &[&str], config: &str, variables: &[(&str, &str)]) -> Result<Invocation, EngineError> {
        let mut around = Surroundings::of_variables(variables);
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
    fn a_cap_comes_from_its_flag_then_its_variable_then_the_configuration() {
        let variables = [("AIDER_FSM_MAX_CMD_SECONDS", " 5 "), ("AIDER_FSM_MAX_RUN_SECONDS", "")];
        let config = "max_cmd: 9\nmax_run: 8\n";
        let flags = ["verify", "--max-cmd", "3"];
        let origins = |found: Invocation| [origin(&found, "max-cmd"), origin(&found, "max-run")];
        let row = |value: &str, origin: &str| (vec![value.to_owned()], origin.to_owned());
        let found = completed(&flags, config, &variables).expect("completes");
        assert_eq!(origins(found), [row("3", "flag"), row("8", "config /c/config.yml:2")]);
        let found = completed(&flags[..1], config, &variables).expect("completes");
        assert_eq!(origins(found)[0], row("5", "env AIDER_FSM_MAX_CMD_SECONDS"));
        for (name, value) in [
            ("AIDER_FSM_MAX_TOTAL_SECONDS", "-1"),
            ("AIDER_FSM_MAX_SILENCE_SECONDS", "1e3"),
        ] {
            let why = completed(&["verify"], "", &[(name, value)])
                .err()
                .expect(name)
                .to_string();
            assert!(
                why.starts_with(&format!("env {name}: ")) && !why.contains('\n'),
                "{why}"
            );
        }
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
    fn every_key_and_every_variable_is_documented() {
        let page = include_str!("../../docs/configuration.md");
        let names = VARIABLES.map(|(_, name)| name);
        for name in CONFIG_KEYS.into_iter().chain(names) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
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
        let known = PATH_KEYS
            .into_iter()
            .chain(VARIABLES.map(|(key, _)| key))
            .chain(RESOLVED);
        for key in known {
            assert!(CONFIG_KEYS.contains(&key), "{key}");
        }
    }
}
