//! What goes to and fro at the bench: a DNS question whose name says which flow
//! asks and for which time, and an answer that says which socket it came from. So
//! the ten lines of Python that join a server's group can join this one too.

/// Octets of a question.
pub const QUESTION: usize = 12 + NAME + 4;
/// Octets of the longest request that is answered, and of the longest answer.
pub const LONGEST: usize = 128;
/// The name: a label of 4 octets, one of 8, and the root.
const NAME: usize = 5 + 9 + 1;
/// Type TXT, class CH.
const TXT_CH: [u8; 4] = [0, 16, 0, 3];
/// What an answer begins with; then comes who gave it.
const WORKER: &[u8] = b"worker=";
/// Who the Python program says it is.
const PYTHON: &[u8] = b"python";

/// Who answers: the number of a socket.
pub type Serial = u32;
/// The Python program, which knows no number of its socket.
pub const PYTHON_SERIAL: Serial = 0;

/// Writes the question of a flow, which is its `number`-th, with a message ID.
pub fn ask(id: u16, flow: u16, number: u32) -> [u8; QUESTION] {
    let mut question = [0; QUESTION];
    question[..2].copy_from_slice(&id.to_be_bytes());
    // One question.
    question[5] = 1;
    question[12] = 4;
    write_hex(&mut question[13..17], u32::from(flow));
    question[17] = 8;
    write_hex(&mut question[18..26], number);
    question[27..].copy_from_slice(&TXT_CH);
    question
}

/// Writes the answer to a request, and returns its length; 0 where the request is
/// no question or there is no room.
pub fn answer(request: &[u8], from: &str, reply: &mut [u8]) -> usize {
    let Some(end) = end_of_question(request) else {
        return 0;
    };
    // The question's name, by a pointer; no time to live; a string of its own length.
    let length = WORKER.len() + from.len();
    let length_octet = length as u8;
    let fields = [
        0xc0,
        12,
        0,
        16,
        0,
        3,
        0,
        0,
        0,
        0,
        0,
        length_octet + 1,
        length_octet,
    ];
    let parts = [&request[..end], &fields, WORKER, from.as_bytes()];
    let whole: usize = parts.iter().map(|part| part.len()).sum();
    if length > 60 || whole > reply.len() {
        return 0;
    }
    let mut at = 0;
    for part in parts {
        reply[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    // A reply, with authority; one question, one answer.
    reply[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    whole
}

/// An answer that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The flow that had asked.
    pub flow: u16,
    /// Its number.
    pub number: u32,
    /// Who answers.
    pub from: Serial,
}

/// Reads an answer; `None` of what is none of ours.
pub fn read(reply: &[u8]) -> Option<Answer> {
    let flow = read_hex(reply.get(13..17)?)? as u16;
    let number = read_hex(reply.get(18..26)?)?;
    // Behind it the record's name, type, class, time to live and two lengths.
    let text = reply.get(QUESTION + 13..)?.strip_prefix(WORKER)?;
    let from = match text {
        PYTHON => PYTHON_SERIAL,
        number => str::from_utf8(number).ok()?.parse().ok()?,
    };
    (reply[2] & 0x80 != 0).then_some(Answer { flow, number, from })
}

/// Where the question ends, of a request and not of a reply: nobody answers the
/// other for ever.
fn end_of_question(request: &[u8]) -> Option<usize> {
    let is_question = request.get(2)? & 0x80 == 0;
    let name = request.get(12..)?.iter().position(|&octet| octet == 0)?;
    let end = 12 + name + 5;
    (is_question && end <= request.len()).then_some(end)
}

fn write_hex(place: &mut [u8], number: u32) {
    let mut rest = number;
    for octet in place.iter_mut().rev() {
        *octet = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
}

fn read_hex(octets: &[u8]) -> Option<u32> {
    u32::from_str_radix(str::from_utf8(octets).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_what_was_asked_and_by_whom() {
        let mut reply = [0; LONGEST];
        for (flow, number, from) in [(0, 0, 1), (4095, u32::MAX, 64), (258, 65_536, u32::MAX)] {
            let question = ask(0x1234, flow, number);
            let length = answer(&question, &from.to_string(), &mut reply);
            let expected = Answer { flow, number, from };
            assert_eq!(read(&reply[..length]), Some(expected));
            assert_eq!(reply[..2], [0x12, 0x34]);
            assert_ne!(read(&reply[..length - 1]), Some(expected));
        }
    }

    #[test]
    fn others_read_it_as_dns() {
        use trust_dns_proto::op::Message;
        let question = ask(7, 300, 9);
        let mut reply = [0; LONGEST];
        let length = answer(&question, "5", &mut reply);
        let asked = Message::from_vec(&question).unwrap();
        let answered = Message::from_vec(&reply[..length]).unwrap();
        assert_eq!(asked.queries, answered.queries);
        assert_eq!(asked.queries[0].name().to_ascii(), "012c.00000009.");
        assert!(answered.answers[0].to_string().contains("worker=5"));
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let mut reply = [0; LONGEST];
        let question = ask(7, 1, 1);
        for cut in 0..QUESTION {
            assert_eq!(answer(&question[..cut], "1", &mut reply), 0);
            assert_eq!(read(&question[..cut]), None);
        }
        let length = answer(&question, "1", &mut reply);
        let own = reply;
        assert_eq!(answer(&own[..length], "1", &mut reply), 0);
        assert_eq!(answer(&question, "1", &mut [0; QUESTION]), 0);
    }
}
