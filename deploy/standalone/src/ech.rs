//! `tidegate ech`: keys for encrypted ClientHellos (RFC 9849).

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Subcommand;
use tidegate_controlplane::ech::EchKeys;

/// Options of `tidegate ech`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key pair, and print its Secret with what belongs into DNS
    Generate(Generate),
}

#[derive(Debug, clap::Args)]
struct Generate {
    /// Server name that clients say in clear: one of a listener on the same port
    #[arg(long, value_name = "NAME")]
    public_name: String,
    /// Name of the Secret, for `tidegate.dev/ech` of a listener
    #[arg(long, default_value = "ech")]
    name: String,
    /// Namespace of the Secret: that of the Gateway
    #[arg(long, default_value = "default")]
    namespace: String,
    /// The Secret before, as YAML (`-`: standard input); its keys are kept for clients that still use them
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
}

/// Prints what was asked for.
///
/// # Errors
/// When what was given cannot be used, with the remedy.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Action::Generate(args) = &args.action;
    print!("{}", generate(args)?);
    Ok(())
}

fn generate(args: &Generate) -> anyhow::Result<String> {
    let before = args.previous.as_deref().map(read).transpose()?;
    let keys = EchKeys::renewed(&args.public_name, before).context("--public-name")?;
    Ok(keys.to_manifest(&args.name, &args.namespace))
}

fn read(path: &Path) -> anyhow::Result<EchKeys> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let place = || format!("--previous {}", path.display());
    EchKeys::from_manifest(&text.with_context(place)?).with_context(place)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn generated(line: &str) -> anyhow::Result<String> {
        let Command::Ech(args) = Cli::try_parse_from(line.split_whitespace())?.command else {
            panic!("{line}");
        };
        let Action::Generate(args) = args.action;
        generate(&args)
    }

    #[test]
    fn a_renewed_secret_keeps_the_keys_before() {
        let folder = tempfile::tempdir().unwrap();
        let line = "tidegate ech generate --public-name public.example";
        let first = generated(line).unwrap();
        let file = folder.path().join("before.yaml");
        fs::write(&file, &first).unwrap();
        let second =
            generated(&format!("{line} --name edge --previous {}", file.display())).unwrap();
        assert!(second.contains("\n  name: edge\n") && second.contains("\n#   ech="));
        let (first, second) = (
            EchKeys::from_manifest(&first).unwrap(),
            EchKeys::from_manifest(&second).unwrap(),
        );
        assert!(second.previous() == first.current());
        assert!(second.config_list() != first.config_list());
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let error = generated("tidegate ech generate --public-name *.example").unwrap_err();
        assert!(format!("{error:#}").contains("public-name"), "{error:#}");
        let nowhere = "tidegate ech generate --public-name a.example --previous /nowhere.yaml";
        assert!(generated(nowhere).is_err());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("other.yaml");
        fs::write(&file, "kind: Secret\napiVersion: v1\n").unwrap();
        let line = format!(
            "tidegate ech generate --public-name a.example --previous {}",
            file.display()
        );
        let error = format!("{:#}", generated(&line).unwrap_err());
        assert!(error.contains("no key under ech.pem"), "{error}");
    }
}
