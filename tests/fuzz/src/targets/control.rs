//! The control protocol: what a client of the control socket writes gets lines that
//! are replies, and what is read as a command or a reply is the same written and
//! read again.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::thread;

use crossbeam_channel::{Sender, unbounded};
use serde_json::Value;
use shardns::answer::Secrets;
use shardns::daemon::Ask;
use shardns::daemon::control::{self, Command, Counted, Reply};
use shardns::daemon::reload::Said;
use shardns::daemon::status::Status;
use shardns::daemon::takeover::{Handed, Offer};
use shardns::server::Sockets;

/// Where what is asked goes: to somebody who says yes to everything.
static ASKS: LazyLock<Sender<Ask>> = LazyLock::new(|| {
    let (asks, asked) = unbounded();
    thread::spawn(move || asked.iter().for_each(answer));
    asks
});

/// Who has waited for too long is gone, and so may be who asks.
fn answer(ask: Ask) {
    let _ = match ask {
        Ask::Status(to) => to.send(Status::default()).is_ok(),
        Ask::Reload(_, to) => to.send(Said::default()).is_ok(),
        Ask::Stop(to) | Ask::LeaveQueues(to) => to.send(()).is_ok(),
        Ask::Watch(_, to) => to.send(Err(std::io::Error::other("none"))).is_ok(),
        Ask::HandOver(to) => to.send(Some(handed())).is_ok(),
        Ask::LetGo(_, _, to) => to.send(Some(Counted::default())).is_ok(),
        Ask::Retire(to, _) => to.send(Counted::default()).is_ok(),
        Ask::Withdraw | Ask::Resume | Ask::Settle(_) | Ask::Alone | Ask::CarryOn(_) => true,
    };
}

fn handed() -> Handed {
    let socket = || UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap().into();
    Handed {
        offer: Offer {
            workers: 2,
            groups: vec![2],
            listeners: 1,
            cookie_secrets: true,
            ..Offer::default()
        },
        sockets: Sockets {
            workers: 2,
            groups: vec![vec![socket(), socket()]],
            listeners: vec![listener()],
        },
        control: listener(),
        metrics: None,
        cookies: Some(secrets()),
    }
}

fn secrets() -> Secrets {
    Secrets {
        current: [1; 16],
        previous: Some([2; 16]),
    }
}

/// Writes the input to the server's end, and reads what comes.
pub fn run(input: &[u8]) {
    again::<Command>(input);
    again::<Reply>(input);
    let (mut client, server) = UnixStream::pair().unwrap();
    // More than the kernel takes at once is more than a client may write.
    let input = &input[..input.len().min(80_000)];
    client.write_all(input).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // A connection that broke has been told so.
    let _ = control::serve(server, ASKS.clone());
    let mut said = Vec::new();
    client.read_to_end(&mut said).unwrap();
    for line in said.split(|octet| *octet == b'\n') {
        // Descriptors come with an octet that says nothing.
        let line = line.strip_prefix(b"d").unwrap_or(line);
        if !line.is_empty() {
            serde_json::from_slice::<Reply>(line).expect("a line is a reply");
        }
    }
}

/// What is read is the same once it has been written.
fn again<T>(input: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let Ok(read) = serde_json::from_slice::<T>(input) else {
        return;
    };
    let written = serde_json::to_value(&read).unwrap();
    let text = serde_json::to_string(&written).unwrap();
    let again: T = serde_json::from_str(&text).expect("what was written can be read");
    let again = serde_json::to_value(&again).unwrap();
    assert!(is_same(&written, &again), "{written} {again}");
}

/// Numbers with fractions are read to within their last digits.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(key, value)| other.get(key).is_some_and(|other| is_same(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        (Value::Number(one), Value::Number(other)) if one.is_f64() => other.is_f64(),
        _ => one == other,
    }
}

/// Every command, and replies to most.
pub fn seeds() -> Vec<Vec<u8>> {
    let taken = r#"{"groups":[0],"listeners":[0]}"#;
    let commands = [
        r#"{"command":"status"}"#,
        r#"{"command":"reload"}"#,
        r#"{"command":"reload","zone":"example.com"}"#,
        r#"{"command":"reload","zone":null}"#,
        r#"{"command":"reload","zone":".."}"#,
        r#"{"command":"stop"}"#,
        r#"{"command":"takeover"}"#,
        r#"{"command":"queries","every":1}"#,
        r#"{"command":"go"}"#,
        r#"{"command":"cookie-secrets"}"#,
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for command in commands {
        seeds.push(command.into());
        seeds.push(format!("{command}\n").into());
        seeds.push(format!("{command}\n{command}\n").into());
    }
    let ready = format!(r#"{{"command":"ready","taken":{taken},"process":7}}"#);
    let takeover = format!("{}\n{}\n{ready}\n", commands[6], commands[8]);
    let secrets_too = [commands[6], commands[8], commands[9], &ready].join("\n");
    seeds.push(format!("{secrets_too}\n").into());
    seeds.push(format!("{takeover}{}\n", commands[5]).into());
    seeds.push(takeover.into());
    seeds.push(ready.into());
    let replies = [
        Reply::Status(Box::default()),
        Reply::Reloaded(Said::default()),
        Reply::Stopping,
        Reply::Offer(handed().offer),
        Reply::CookieSecrets(secrets()),
        Reply::LetGo(Counted::default()),
        Reply::Finished(Counted::default()),
        Reply::Withdrawn,
        Reply::Error("no".into()),
    ];
    seeds.extend(replies.map(|reply| serde_json::to_vec(&reply).unwrap()));
    seeds.push(serde_json::to_vec(&Value::Array(vec![Value::Null; 9])).unwrap());
    seeds
}
