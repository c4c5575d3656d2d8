//! `--config FILE`: a file with options and zones, in TOML. Its keys are the names
//! of the options of `shardns serve`, and `zones`; each value is read as it would be
//! on the command line, which has the last word.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use toml::de::{DeTable, DeValue};

use super::Cli;
use crate::zone::collection::{ATTEMPTS, QUIET};
use crate::zone::text::Stamp;

/// The key of what has no name on the command line.
const ZONES: &str = "zones";
/// Not for a file: it names one, or asks for help.
const NO_KEYS: [&str; 4] = ["config", "help", "version", "takeover"];

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read at all.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// Places in it, a line each.
    #[error("{}", lines(.0))]
    Wrong(Vec<Wrong>),
    /// It does not go together with the command line.
    #[error("{0}")]
    Unfit(String),
}

/// A place in a file, and what is wrong there.
#[derive(Debug)]
pub struct Wrong {
    path: PathBuf,
    line: usize,
    column: usize,
    sentence: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, line, column) = (self.path.display(), self.line, self.column);
        write!(f, "{path}:{line}:{column}: {}", self.sentence)
    }
}

fn lines(all: &[Wrong]) -> String {
    let lines: Vec<String> = all.iter().map(Wrong::to_string).collect();
    lines.join("\n")
}

/// What the command line asks for, with what is in its `--config` file. Wrong usage
/// ends the program.
///
/// # Errors
///
/// What is wrong with the file.
pub(super) fn parse() -> Result<Cli, ConfigError> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let matches = read_alone(&arguments).unwrap_or_else(|error| error.exit());
    parse_with(arguments, matches)
}

/// The same once more, where the file may be another by now.
///
/// # Errors
///
/// What is wrong with the file.
pub(super) fn parse_again() -> Result<Cli, ConfigError> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let matches = read_alone(&arguments);
    parse_with(arguments, matches.map_err(unfit)?)
}

/// What the command line says without a file. An option that another one needs may be in
/// the file.
fn read_alone(arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let read = Cli::command().try_get_matches_from(arguments);
    let Err(error) = read else { return read };
    if error.kind() != ErrorKind::MissingRequiredArgument {
        return Err(error);
    }
    let command = Cli::command().ignore_errors(true);
    let read = command.try_get_matches_from(arguments)?;
    let given = read.subcommand().map_or(&read, |(_, given)| given);
    match given.try_contains_id("config") {
        Ok(true) => Ok(read),
        _ => Err(error),
    }
}

fn parse_with(arguments: Vec<OsString>, matches: ArgMatches) -> Result<Cli, ConfigError> {
    let named = matches.subcommand();
    let given = named.map_or(&matches, |(_, given)| given);
    let path = given.try_get_one::<PathBuf>("config").ok().flatten();
    let Some(path) = path else {
        return Cli::from_arg_matches(&matches).map_err(unfit);
    };
    let taken_by = match named {
        Some((name, _)) if name != "serve" => command(name),
        _ => command("serve"),
    };
    let mut options = read(path)?;
    options.retain(|option| {
        let known = taken_by.get_arguments().any(|arg| is_it(arg, &option.key));
        // On the command line it may be given otherwise; then that holds.
        let given = given.try_contains_id(&option.id).is_ok()
            && given.value_source(&option.id) == Some(ValueSource::CommandLine);
        known && !given
    });
    let line = arguments.split_at(1 + usize::from(named.is_some()));
    let matches = parse_together(line, &options);
    let matches = matches.map_err(|error| blame(path, line, &options, error))?;
    Cli::from_arg_matches(&matches).map_err(unfit)
}

/// A command line where options of the file come in between.
type Halves<'l> = (&'l [OsString], &'l [OsString]);

/// Has clap read the command line with these options of the file.
fn parse_together(
    (before, behind): Halves<'_>,
    options: &[Given],
) -> Result<ArgMatches, clap::Error> {
    let (zones, options): (Vec<&Given>, Vec<&Given>) =
        options.iter().partition(|option| option.key == ZONES);
    let words = |given: Vec<&Given>| -> Vec<OsString> {
        let words = given.into_iter().flat_map(|option| &option.arguments);
        words.cloned().collect()
    };
    let mut arguments = [before, &words(options), behind].concat();
    let zones = words(zones);
    if !zones.is_empty() {
        arguments.push("--".into());
        arguments.extend(zones);
    }
    Cli::command().try_get_matches_from(arguments)
}

/// The place of the first option in the file that has this said, with those before it,
/// where the command line alone does not.
fn blame(path: &Path, line: Halves<'_>, options: &[Given], error: clap::Error) -> ConfigError {
    let said = sentence(&error);
    let is_said = |count: &usize| {
        let matches = parse_together(line, &options[..*count]);
        matches.is_err_and(|error| sentence(&error) == said)
    };
    let count = (0..=options.len()).find(is_said).unwrap_or_default();
    match count.checked_sub(1).and_then(|last| options.get(last)) {
        Some(option) => ConfigError::Wrong(vec![Wrong {
            path: path.into(),
            line: option.place.0,
            column: option.place.1,
            sentence: format!("{}: {said}", option.key),
        }]),
        None => unfit(error),
    }
}

fn unfit(error: clap::Error) -> ConfigError {
    ConfigError::Unfit(sentence(&error))
}

/// What clap says, without the usage and what to try.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").into()
}

fn command(name: &str) -> Command {
    let all = Cli::command();
    let found = all.find_subcommand(name);
    found.expect("the command was given").clone()
}

fn is_it(arg: &Arg, key: &str) -> bool {
    match arg.get_long() {
        Some(long) => long == key && !NO_KEYS.contains(&key),
        None => arg.is_positional() && key == ZONES,
    }
}

/// An option in the file, as it is written on the command line.
struct Given {
    key: String,
    id: String,
    arguments: Vec<OsString>,
    /// Its line and column.
    place: (usize, usize),
}

/// Reads the file.
fn read(path: &Path) -> Result<Vec<Given>, ConfigError> {
    let text = read_quietly(path).map_err(|error| ConfigError::Unreadable {
        path: path.into(),
        error,
    })?;
    read_text(path, &text)
}

/// How many options a text has.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn count(path: &Path, text: &str) -> Result<usize, ConfigError> {
    read_text(path, text).map(|given| given.len())
}

/// Reads each of the values as the command line does.
fn read_text(path: &Path, text: &str) -> Result<Vec<Given>, ConfigError> {
    let wrong = |at: Range<usize>, sentence: String| wrong(path, text, at.start, sentence);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut all_wrong: Vec<Wrong> = errors
        .iter()
        .map(|error| wrong(error.span().unwrap_or(0..0), error.message().into()))
        .collect();
    let serve = command("serve");
    let mut given = Vec::new();
    for (key, value) in table.get_ref() {
        let (name, span) = (key.get_ref(), key.span());
        let Some(arg) = serve.get_arguments().find(|arg| is_it(arg, name)) else {
            all_wrong.push(wrong(span, unknown(name, &serve)));
            continue;
        };
        match arguments(arg, name, value.get_ref()) {
            Ok(arguments) => match check(&serve, &arguments) {
                Ok(()) => given.push(Given {
                    key: name.to_string(),
                    id: arg.get_id().to_string(),
                    arguments,
                    place: place(text, span.start),
                }),
                Err(sentence) => all_wrong.push(wrong(value.span(), sentence)),
            },
            Err(sentence) => all_wrong.push(wrong(value.span(), format!("{name}: {sentence}"))),
        }
    }
    if !all_wrong.is_empty() {
        all_wrong.sort_by_key(|wrong| (wrong.line, wrong.column));
        return Err(ConfigError::Wrong(all_wrong));
    }
    given.sort_by_key(|given| given.place);
    Ok(given)
}

/// The text of a file that nobody writes to meanwhile.
fn read_quietly(path: &Path) -> std::io::Result<String> {
    for _ in 0..ATTEMPTS {
        let before = Stamp::at(path);
        let text = std::fs::read_to_string(path)?;
        if let Some(stamp) = before {
            std::thread::sleep(QUIET.saturating_sub(stamp.age()));
        }
        if Stamp::at(path) == before {
            return Ok(text);
        }
    }
    Err(std::io::Error::other("it was written to again and again"))
}

fn unknown(name: &str, serve: &Command) -> String {
    let keys = serve.get_arguments().filter_map(Arg::get_long);
    let keys = keys.chain([ZONES]).filter(|key| !NO_KEYS.contains(key));
    let distance = |key: &&str| strsim::jaro(key, name);
    let near = keys.max_by(|a, b| distance(a).total_cmp(&distance(b)));
    let near = near.filter(|key| distance(key) > 0.8);
    let hint = near.map(|key| format!("; did you mean `{key}`?"));
    format!("unknown key `{name}`{}", hint.unwrap_or_default())
}

/// A value as words of the command line.
fn arguments(arg: &Arg, name: &str, value: &DeValue<'_>) -> Result<Vec<OsString>, String> {
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let repeats = matches!(arg.get_action(), ArgAction::Append);
    let word = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string().replace('_', "")),
        other => Err(format!(
            "{} where a string or a number belongs",
            other.type_str()
        )),
    };
    let written = |word: String| -> OsString {
        match name {
            ZONES => word.into(),
            _ => format!("--{name}={word}").into(),
        }
    };
    match value {
        DeValue::Boolean(true) if is_flag => Ok(vec![format!("--{name}").into()]),
        DeValue::Boolean(false) if is_flag => Ok(Vec::new()),
        _ if is_flag => Err("write true or false".into()),
        DeValue::Array(values) if repeats => {
            let words = values.iter().map(|value| word(value.get_ref()));
            words.map(|word| word.map(written)).collect()
        }
        DeValue::Array(_) => Err("it has one value".into()),
        value => Ok(vec![written(word(value)?)]),
    }
}

/// Has clap read the words, for what it says of them.
fn check(serve: &Command, arguments: &[OsString]) -> Result<(), String> {
    let words = ["serve".into()]
        .into_iter()
        .chain(arguments.iter().cloned());
    let Err(error) = serve.clone().try_get_matches_from(words) else {
        return Ok(());
    };
    // What an option needs beside it may be on the command line.
    if error.kind() == ErrorKind::MissingRequiredArgument {
        return Ok(());
    }
    Err(sentence(&error))
}

fn wrong(path: &Path, text: &str, at: usize, sentence: String) -> Wrong {
    let (line, column) = place(text, at);
    Wrong {
        path: path.into(),
        line,
        column,
        // A key may have any character, and a fault is one line of a terminal.
        sentence: sentence.replace(char::is_control, "\u{fffd}"),
    }
}

/// Line and column of an octet, counted from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before[line_start..].chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}
