//! `shardns queries`: input for dnsperf, one `NAME TYPE` a line, made of what
//! is really in the zones and of names that really are not.

use std::io::{self, BufWriter, Write};

use anyhow::bail;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::sources::{ZoneArguments, plural};
use super::tell;
use crate::wire::{LookupName, Name, RrType};
use crate::zone::store::Node;
use crate::zone::{End, Found, Zones};

/// Random labels tried before a zone is taken to have no free name.
const ATTEMPTS: usize = 1000;
/// Letters and digits of a made-up label: 36^12 of them.
const LABEL: usize = 12;

/// The arguments of `shardns queries`.
#[derive(Debug, clap::Args)]
pub struct Queries {
    #[command(flatten)]
    zones: ZoneArguments,
    /// How many queries to write
    #[arg(
        short = 'n',
        long = "number",
        value_name = "N",
        default_value_t = 10_000
    )]
    number: u64,
    /// How many of a hundred ask for a name that does not exist
    #[arg(long, value_name = "PCT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    nxdomain: u32,
    /// The same seed gives the same queries
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

impl Queries {
    /// Writes the queries to stdout.
    ///
    /// # Errors
    ///
    /// Zones that cannot be read, or that leave nothing to ask for.
    pub fn run(self) -> anyhow::Result<()> {
        let zones = self.zones.load()?;
        self.write(&zones, BufWriter::new(io::stdout().lock()))
    }

    fn write(&self, zones: &Zones, mut out: impl Write) -> anyhow::Result<()> {
        let nodes = zones.iter().flat_map(|zone| zone.nodes());
        let (mut owners, unwritten): (Vec<Node<'_>>, Vec<_>) = nodes
            .filter(|node| node.sets() > 0)
            .partition(|node| can_be_written(node.name()));
        // Where nodes lie depends on a key of the process, and a seed stands for the
        // same queries in each.
        owners.sort_unstable_by_key(|node| node.name());
        if !unwritten.is_empty() {
            let count = unwritten.len();
            let names = plural(count, "name");
            tell(format_args!(
                "left out: {count} {names} with octets that dnsperf cannot read\n"
            ));
        }
        if owners.is_empty() {
            bail!("the zones hold no record to ask for");
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        for _ in 0..self.number {
            let node = owners[random.random_range(0..owners.len())];
            if random.random_range(0..100) < self.nxdomain {
                let name = missing_name(zones, &owners, &mut random)?;
                writeln!(out, "{name} A")?;
            } else {
                let rtype = node.types().nth(random.random_range(0..node.sets()));
                writeln!(
                    out,
                    "{} {}",
                    Name::from_wire(node.name())?,
                    rtype.unwrap_or(RrType::A)
                )?;
            }
        }
        Ok(out.flush()?)
    }
}

/// dnsperf 2.10 takes `\DDD` for another octet, so that names which need it
/// cannot be asked for.
fn can_be_written(name: &[u8]) -> bool {
    let mut labels = name;
    while let Some((&length, rest)) = labels.split_first() {
        let (label, rest) = rest.split_at(length.into());
        if !label.iter().all(u8::is_ascii_graphic) {
            return false;
        }
        labels = rest;
    }
    true
}

/// A name next to one that exists, of which the zones say that it does not.
fn missing_name(
    zones: &Zones,
    owners: &[Node<'_>],
    random: &mut ChaCha8Rng,
) -> anyhow::Result<Name> {
    let mut name = LookupName::new();
    for _ in 0..ATTEMPTS {
        let beside = owners[random.random_range(0..owners.len())].name();
        let parent = &beside[(1 + usize::from(beside[0])).min(beside.len() - 1)..];
        let mut wire = vec![LABEL as u8];
        wire.extend(
            (0..LABEL).map(|_| b"abcdefghijklmnopqrstuvwxyz0123456789"[random.random_range(0..36)]),
        );
        wire.extend_from_slice(parent);
        if name.set(&wire).is_none() {
            continue;
        }
        let zone = zones.find(&name, RrType::A);
        if zone.is_some_and(|zone| is_missing(zone.find(&name, RrType::A))) {
            return Ok(Name::from_wire(&wire)?);
        }
    }
    bail!("the zones leave no name that does not exist (wildcards?); use --nxdomain 0")
}

fn is_missing(found: Found<'_>) -> bool {
    matches!(found, Found::End(End::NoName(_)))
}
