//! `outcrop certify`: what is promised, held against what callers and upstreams saw; and the load generator alone.
//!
//! Only the command line lives here; generator, scenarios and verdicts are the lab's (`outcrop_lab::{load, certify}`),
//! which knows nothing of the gateway.

mod compare;
mod load;
mod render;
mod show;
mod suites;
mod verify;

pub mod publish;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use outcrop_lab::certify::suite::SUITES;

/// Exit code of a run that was ended by Ctrl-C (128 + SIGINT).
const EX_INTERRUPTED: u8 = 130;

/// Options of `outcrop certify`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    suites: suites::Suites,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send load at a fixed rate of arrivals to any compatible address, and measure what comes back.
    ///
    /// Latency counts from the moment a request was due, so a slow target cannot hide its queue. Exit codes: 0 every
    /// request was answered completely; 1 some were not, or the run is void because the generator itself was too slow; 64
    /// bad input; 69 nothing answers there; 130 ended by Ctrl-C, with a partial result.
    Load(Box<load::Options>),
    /// Play scenario files of your own.
    Run(suites::Run),
    /// Check that a report is unchanged since it was signed, and by whose key.
    ///
    /// Exit codes: 0 everything holds; 1 a byte was changed, the key is another one, or the report contradicts itself;
    /// 64 bad input.
    Verify(verify::Options),
    /// Hold a report against an earlier one: what got worse beyond the margins, what got better, what is noise.
    ///
    /// Exit codes: 0 nothing got worse; 1 something did; 64 bad input.
    Compare(compare::Options),
    /// Make the page, the Markdown summary and the JUnit file from a report's JSON again.
    Report(render::Options),
}

/// `load` is a suite, and with a `--target` the generator alone; the parser knows the word as the generator only.
pub(crate) fn spelled(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = arguments.collect();
    let generator = ["--target", "--help", "-h"];
    let asks_generator = all.iter().any(|word| {
        let word = word.to_string_lossy();
        generator.iter().any(|option| word == *option || word.starts_with("--target="))
    });
    if all.get(1).is_some_and(|word| word == "certify") && !asks_generator {
        let suites = all.iter_mut().skip(2).take_while(|word| SUITES.iter().any(|suite| *word == *suite));
        suites.filter(|word| *word == "load").for_each(|word| *word = "--suite=load".into());
    }
    all
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match &options.command {
        None => suites::certify(&options.suites),
        Some(Command::Load(options)) => load::run(options),
        Some(Command::Run(options)) => suites::play_files(options),
        Some(Command::Verify(options)) => verify::run(options),
        Some(Command::Compare(options)) => compare::run(options),
        Some(Command::Report(options)) => render::run(options),
    }
}

/// Thousands of connections need as many descriptors: takes what the system allows this process and its children.
fn raise_descriptors() {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            // With the lower limit, runs with many connections say that they could not be opened.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::spelled;

    #[test]
    fn load_is_a_suite_unless_it_has_a_target() {
        let check = |line: &str, expected: &str| {
            let found = spelled(line.split(' ').map(Into::into));
            assert_eq!(found, expected.split(' ').collect::<Vec<_>>(), "{line}");
        };
        check(
            "outcrop certify load latency --profile quick",
            "outcrop certify --suite=load latency --profile quick",
        );
        check("outcrop certify latency load", "outcrop certify latency --suite=load");
        check("outcrop certify load --target http://x", "outcrop certify load --target http://x");
        check("outcrop certify --out load", "outcrop certify --out load");
        check("outcrop demo load", "outcrop demo load");
    }
}
