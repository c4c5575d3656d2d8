//! A resolver that goes from the servers of a zone to those of its children, at port 53
//! of two addresses, as resolvers do. That takes a network of its own, and root.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::sign::{self, Signed};
use crate::support::running::{PROGRAM, Running, is_root, own_user, skip};
use crate::{Verdict, judge, questions, served, stub, unbound};

/// A network in which there is loopback alone, and who keeps it there.
struct Network {
    holder: Child,
}

impl Network {
    fn open() -> Network {
        let script = "ip link set lo up && echo ready && exec cat";
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]);
        // It ends with this process, when nobody holds its input.
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(holder.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "there is a network");
        Network { holder }
    }

    fn enter(&self) -> [String; 2] {
        let network = format!("--net=/proc/{}/ns/net", self.holder.id());
        ["nsenter".into(), network]
    }

    fn serve(&self, address: &str, zones: &[String]) -> Running {
        let [program, network] = self.enter();
        let mut command = Command::new(program);
        command.args([&network, PROGRAM, "serve", "--listen", address]);
        Running::spawn(command.args(own_user()).args(zones))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_validating_resolver_follows_referrals() {
    if !is_root() {
        return skip("only root may make the network that referrals are followed in");
    }
    let folder = tempfile::tempdir().unwrap();
    let zones = sign::sign_all(folder.path());
    if zones.is_empty() {
        return;
    }
    let network = Network::open();
    let own = served(zones.iter().map(|zone| (&zone.apex, &zone.file)));
    let below = zones.iter().flat_map(|zone| &zone.children);
    let below = served(below.map(|(apex, file)| (apex, file)));
    let _parent = network.serve("127.0.0.1:53", &own);
    let _child = network.serve("127.0.0.2:53", &below);
    judge(&zones, "unbound-host", |zone| resolve(&network, zone));
}

fn resolve(network: &Network, zone: &Signed) -> Option<Verdict> {
    zone.trust();
    let file = zone.folder.join("unbound.conf");
    fs::write(file, unbound(zone, &stub(&zone.apex, 53))).unwrap();
    let [program, network] = network.enter();
    let mut verdict = Verdict::default();
    let below = |name: &str| name.starts_with("www.") || name.starts_with("away.");
    for (name, rtype, proof) in questions(zone).filter(|(name, ..)| below(name)) {
        let tool = "unbound-host";
        let arguments = [
            &*network,
            tool,
            "-v",
            "-C",
            "unbound.conf",
            "-t",
            rtype,
            &name,
        ];
        let output = sign::run(&zone.folder, &program, &arguments)?;
        let said = String::from_utf8_lossy(&output.stdout);
        // What `nsenter` says of what it cannot find.
        if output.status.code() == Some(127) {
            return None;
        }
        let (secure, insecure) = (said.contains("(secure)"), said.contains("(insecure)"));
        let accepted = proof.accepts(zone, secure, insecure);
        verdict.note(accepted, || format!("unbound-host {name} {rtype}: {said}"));
    }
    Some(verdict)
}
