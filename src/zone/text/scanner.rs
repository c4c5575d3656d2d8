//! Octets of a master file -> entries of tokens (RFC 1035 §5.1). One pass, no
//! copy: a token is a slice of the text with its escapes still in it. It knows
//! comments, quotes and parentheses, and nothing about records.

/// One word of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'t> {
    /// The octets as written, without the surrounding quotes, escapes intact.
    pub text: &'t [u8],
    /// True for `"…"`, which is never a directive, a type or `@`.
    pub quoted: bool,
    /// Where it starts in the text.
    pub at: u32,
}

/// An entry: one line, or several held together by parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// True where the line begins with blank space, so that the owner is the
    /// one before.
    pub blank: bool,
}

/// What is wrong with the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line ends inside quotes.
    #[error("a quote that is not closed on its line")]
    Quote,
    /// The text ends inside parentheses.
    #[error("a parenthesis that is never closed")]
    Open,
    /// `)` with no `(` before it.
    #[error("a closing parenthesis without an opening one")]
    Close,
}

/// A fault of the text and where it was seen.
type Fault = (u32, Broken);

/// A reader of one text.
pub struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    /// Parentheses further on that are known to stay open, the next one last.
    /// Finding out takes a walk to the end of the text, which is made once.
    unclosed: Vec<u32>,
}

/// What an octet means outside quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Blank,
    Newline,
    Comment,
    Open,
    Close,
    Quote,
    Escape,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Word; 256];
    classes[b' ' as usize] = Class::Blank;
    classes[b'\t' as usize] = Class::Blank;
    classes[b'\r' as usize] = Class::Blank;
    classes[b'\n' as usize] = Class::Newline;
    classes[b';' as usize] = Class::Comment;
    classes[b'(' as usize] = Class::Open;
    classes[b')' as usize] = Class::Close;
    classes[b'"' as usize] = Class::Quote;
    classes[b'\\' as usize] = Class::Escape;
    classes
};

/// The byte-order mark that some editors begin UTF-8 with; no part of the text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl<'t> Scanner<'t> {
    /// Starts at the beginning of `text`, past a UTF-8 byte-order mark.
    /// Positions are `u32`: a text has less than 4 GiB.
    pub fn new(text: &'t [u8]) -> Self {
        debug_assert!(u32::try_from(text.len()).is_ok());
        let at = if text.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        Scanner {
            text,
            at,
            unclosed: Vec::new(),
        }
    }

    /// Where it stands: at the start of an entry, or at the end.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes on at the entry that starts at `at`.
    pub fn skip_to(&mut self, at: usize) {
        self.at = at;
    }

    /// Reads the next entry's tokens into `tokens`, which is cleared first.
    /// `Ok(None)` at the end of the text. After an error, with the place it
    /// was seen at, the next call goes on behind the broken entry, or behind
    /// the first line of one that never ends.
    pub fn next(&mut self, tokens: &mut Vec<Token<'t>>) -> Result<Option<Entry>, Fault> {
        self.next_before(self.text.len(), tokens)
    }

    /// As `next`, but `Ok(None)` as well where none begins before `end`, the
    /// start of a line: what is empty there is passed over, and no more.
    pub fn next_before(
        &mut self,
        end: usize,
        tokens: &mut Vec<Token<'t>>,
    ) -> Result<Option<Entry>, Fault> {
        loop {
            if self.at >= end {
                return Ok(None);
            }
            let first = self.text[self.at];
            tokens.clear();
            self.entry(tokens)?;
            if !tokens.is_empty() {
                let blank = CLASSES[first as usize] == Class::Blank;
                return Ok(Some(Entry { blank }));
            }
        }
    }

    /// Reads to the end of the entry whatever is wrong with it, and tells the
    /// first fault.
    fn entry(&mut self, tokens: &mut Vec<Token<'t>>) -> Result<(), Fault> {
        let mut open: Vec<u32> = Vec::new();
        let mut broken: Option<Fault> = None;
        while let Some(&octet) = self.text.get(self.at) {
            let at = self.at as u32;
            let read = match CLASSES[octet as usize] {
                Class::Word | Class::Escape => self.word(),
                Class::Quote => self.quoted(),
                Class::Close if open.is_empty() => Err((at, Broken::Close)),
                Class::Open if self.is_unclosed(at) => {
                    self.skip_line(at);
                    return Err(broken.unwrap_or((at, Broken::Open)));
                }
                Class::Newline if open.is_empty() => {
                    self.at += 1;
                    return broken.map_or(Ok(()), Err);
                }
                Class::Comment => {
                    self.skip_to_newline();
                    continue;
                }
                Class::Blank | Class::Newline => {
                    self.at += 1;
                    continue;
                }
                Class::Open => {
                    open.push(at);
                    self.at += 1;
                    continue;
                }
                Class::Close => {
                    open.pop();
                    self.at += 1;
                    continue;
                }
            };
            match read {
                Ok(token) => tokens.push(token),
                Err(fault) => {
                    broken.get_or_insert(fault);
                    self.skip_to_newline();
                }
            }
        }
        if open.is_empty() {
            return broken.map_or(Ok(()), Err);
        }
        Err(self.never_closed(open, broken))
    }

    /// The text has ended inside parentheses: its entries are read again from
    /// the line after the first of these, so that their own faults are told.
    fn never_closed(&mut self, open: Vec<u32>, broken: Option<Fault>) -> Fault {
        let first = open[0];
        self.skip_line(first);
        self.unclosed = open;
        self.unclosed.reverse();
        // A broken quote on that line has likely swallowed the closing one.
        let same_line = broken.filter(|(at, _)| (*at as usize) < self.at);
        same_line.unwrap_or((first, Broken::Open))
    }

    /// True for a parenthesis that is known to stay open.
    fn is_unclosed(&mut self, at: u32) -> bool {
        while self.unclosed.last().is_some_and(|&next| next < at) {
            self.unclosed.pop();
        }
        self.unclosed.last() == Some(&at)
    }

    /// A word goes on to blank space, a comment, a parenthesis or a quote; a
    /// quote right behind `=` belongs to it (RFC 9460 §2.1, `key="value"`).
    fn word(&mut self) -> Result<Token<'t>, Fault> {
        let start = self.at;
        while let Some(&octet) = self.text.get(self.at) {
            match CLASSES[octet as usize] {
                Class::Word => self.at += 1,
                Class::Escape => self.escape(),
                Class::Quote if self.text[self.at - 1] == b'=' && self.at > start => {
                    self.quoted()?;
                }
                _ => break,
            }
        }
        Ok(Token {
            text: &self.text[start..self.at],
            quoted: false,
            at: start as u32,
        })
    }

    fn quoted(&mut self) -> Result<Token<'t>, Fault> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.escape(),
                Some(b'\n') | None => return Err((start as u32, Broken::Quote)),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(Token {
            text: &self.text[start + 1..self.at - 1],
            quoted: true,
            at: start as u32,
        })
    }

    /// Passes over `\` and the character that it escapes, never over the end
    /// of a line.
    fn escape(&mut self) {
        self.at += match self.text.get(self.at + 1) {
            Some(b'\n') | None => 1,
            Some(_) => 2,
        };
    }

    fn skip_to_newline(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest
            .iter()
            .position(|&octet| octet == b'\n')
            .unwrap_or(rest.len());
    }

    /// Goes on with the line after the one around `at`.
    fn skip_line(&mut self, at: u32) {
        self.at = at as usize;
        self.skip_to_newline();
        self.at = (self.at + 1).min(self.text.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blank or not, and the words.
    type Shown = (bool, Vec<String>);

    fn entries(text: &[u8]) -> Vec<Result<Shown, Fault>> {
        let mut scanner = Scanner::new(text);
        let mut tokens = Vec::new();
        let mut all = Vec::new();
        loop {
            match scanner.next(&mut tokens) {
                Ok(None) => return all,
                Err(fault) => all.push(Err(fault)),
                Ok(Some(entry)) => {
                    let show = |token: &Token<'_>| {
                        let text = String::from_utf8_lossy(token.text).into_owned();
                        if token.quoted {
                            format!("\"{text}\"")
                        } else {
                            text
                        }
                    };
                    all.push(Ok((entry.blank, tokens.iter().map(show).collect())));
                }
            }
        }
    }

    fn entry(text: &str) -> Vec<String> {
        entries(text.as_bytes()).remove(0).unwrap().1
    }

    #[test]
    fn lines_comments_and_blank_owners() {
        let text = b"\xef\xbb\xbf\r\n; note\r\na A 1 ; two\r\n\t B\r\n  \t\n\nc";
        let found = entries(text);
        let words = |list: &[&str]| list.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                Ok((false, words(&["a", "A", "1"]))),
                Ok((true, words(&["B"]))),
                Ok((false, words(&["c"]))),
            ]
        );
    }

    #[test]
    fn parentheses_hold_lines_together() {
        assert_eq!(
            entry("a ( b ; c)\n d (e)\n)f\ng"),
            ["a", "b", "d", "e", "f"]
        );
        assert_eq!(entry("a(b)c"), ["a", "b", "c"]);
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(entry(r#"a "b ; (c" d"#), ["a", "\"b ; (c\"", "d"]);
        assert_eq!(entry(r#"a "b\"c" "" x"#), ["a", r#""b\"c""#, "\"\"", "x"]);
        assert_eq!(entry(r"a\ b\;c\(d \\ e"), [r"a\ b\;c\(d", r"\\", "e"]);
        assert_eq!(
            entry(r#"alpn="h2, h3" port=1"#),
            [r#"alpn="h2, h3""#, "port=1"]
        );
        assert_eq!(entry(r#"a"b c"d"#), ["a", "\"b c\"", "d"]);
    }

    #[test]
    fn goes_on_behind_a_broken_line() {
        let found = entries(b"a \"b\nc d\ne ) f\ng ( h\ni");
        assert_eq!(found[0], Err((2, Broken::Quote)));
        assert_eq!(found[1].as_ref().unwrap().1, ["c", "d"]);
        assert_eq!(found[2], Err((11, Broken::Close)));
        assert_eq!(found[3], Err((17, Broken::Open)));
        assert_eq!(found[4].as_ref().unwrap().1, ["i"]);
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn an_entry_is_broken_as_a_whole_and_only_once() {
        let found = entries(b"a ( \"b\nc \"d\n e )\nf");
        assert_eq!(found[0], Err((4, Broken::Quote)));
        assert_eq!(found[1].as_ref().unwrap().1, ["f"]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn parentheses_that_stay_open_hide_nothing() {
        let found = entries(b"a ((\nb (\nc )\nd ( e\n\"f\ng ( h )\ni (");
        let faults: Vec<Fault> = found.iter().filter_map(|read| read.clone().err()).collect();
        assert_eq!(
            faults,
            [
                (2, Broken::Open),
                (15, Broken::Open),
                (19, Broken::Quote),
                (32, Broken::Open)
            ]
        );
        let quote_first = entries(b"a ( \"b )\nc");
        assert_eq!(quote_first[0], Err((4, Broken::Quote)));
        assert_eq!(quote_first[1].as_ref().unwrap().1, ["c"]);
    }

    #[test]
    fn many_parentheses_that_stay_open_take_one_walk_more() {
        let found = entries(&b"a (\n".repeat(100_000));
        assert_eq!(found.len(), 100_000);
        assert!(found.iter().all(|read| read.is_err()));
    }

    #[test]
    fn no_text_is_too_broken() {
        for text in [
            &b"\\"[..],
            b"a \\",
            b"\"",
            b"\"\\",
            b"(",
            b"=\"",
            b"a=\"\\\n",
        ] {
            entries(text);
        }
    }
}
