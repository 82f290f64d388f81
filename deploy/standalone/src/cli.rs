//! The command line: what may be typed. What it does is in `up`, `get` and `operate`.

use clap::{Parser, Subcommand};

use crate::{demo, ech, get, operate, up};

/// Tidegate: an HTTP/3 edge gateway whose live connections can be seen and commanded.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway on this machine: both planes in one process
    Up(up::Args),
    /// Fetch a URL over HTTP/3, HTTP/2 or HTTP/1.1
    Get(get::Args),
    /// Run the demo's upstream alone, to put behind a gateway
    Upstream(demo::serve::Args),
    /// List, show, watch and close connections
    Connections(operate::connections::Args),
    /// Let connections finish; new ones are served briefly, until clients are led elsewhere
    Drain(operate::drain::DrainArgs),
    /// Take connections again
    Undrain(operate::drain::UndrainArgs),
    /// Data planes with the configuration that each of them serves
    Dataplanes(operate::fleet::Args),
    /// Listeners with their connections
    Listeners(operate::fleet::Args),
    /// The configuration in effect
    Config(operate::config::Args),
    /// What became of each resource: accepted, programmed, refused and why
    Status(operate::status::Args),
    /// Records of ended connections
    Audit(operate::audit::Args),
    /// A live table of the busiest connections
    Top(operate::top::Args),
    /// Keys for encrypted ClientHellos
    Ech(ech::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn operator_options_may_stand_before_and_after_the_action() {
        for line in [
            "tidegate connections --admin http://h:1 -o json list",
            "tidegate connections list --admin http://h:1 -o json",
        ] {
            let Command::Connections(args) = parse(line).expect(line).command else {
                panic!("{line}");
            };
            assert_eq!(args.admin.admin, "http://h:1");
            assert_eq!(args.admin.output, operate::Output::Json);
        }
    }

    #[test]
    fn a_close_names_one_connection_or_says_that_it_means_many() {
        for line in [
            "tidegate connections close local.0.1.1 --code 256 --reason maintenance",
            "tidegate connections close --all-matching --server-name localhost",
            "tidegate connections close --all-matching --min-age 10m --transport --code 0",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "tidegate connections close",
            "tidegate connections close --server-name localhost",
            "tidegate connections close --all-matching",
            "tidegate connections close local.0.1.1 --all-matching --alpn h3",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_qlog_is_of_one_connection_that_is_there_or_comes_next() {
        for line in [
            "tidegate connections qlog local.0.1.1 --duration 10s --level core --file x.sqlog",
            "tidegate connections qlog --next --peer 192.0.2.0/24",
            "tidegate connections keylog --server-name localhost --connections 3",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "tidegate connections qlog",
            "tidegate connections qlog local.0.1.1 --next",
            "tidegate connections qlog local.0.1.1 --peer 192.0.2.0/24",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_drain_needs_its_kind_and_takes_a_deadline() {
        assert!(parse("tidegate drain dataplane").is_ok());
        assert!(parse("tidegate drain listener default/demo/https --deadline 5s").is_ok());
        assert!(parse("tidegate undrain listener default/demo/https").is_ok());
        assert!(parse("tidegate drain").is_err());
        assert!(parse("tidegate drain dataplane --deadline 5").is_err());
    }

    #[test]
    fn get_speaks_one_protocol_at_a_time() {
        assert!(parse("tidegate get https://localhost:8443/ --http2").is_ok());
        assert!(parse("tidegate get https://localhost:8443/ --http3 --http2").is_err());
        assert!(parse("tidegate get ftp://localhost/").is_err());
        assert!(parse("tidegate get https://a/ --resolve a:443:127.0.0.1").is_ok());
        assert!(parse("tidegate get https://a/ --resolve a:443").is_err());
    }
}
