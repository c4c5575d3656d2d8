//! Octets of a master file -> entries of tokens (RFC 1035 §5.1). One pass, no
//! copy: a token is a slice of the text with its escapes still in it. It knows
//! comments, quotes and parentheses, and nothing about records.

/// Words of an entry. The longest data is 65,535 octets, written as two digits each
/// with a blank between any two.
const MAX_WORDS: usize = 1 << 18;
/// Parentheses that are open at once, each of which is remembered: where one is left
/// open on every line, all these lines are told.
const MAX_OPEN: usize = 1 << 20;

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

impl Token<'_> {
    /// Where it ends in the text.
    pub fn end(&self) -> u32 {
        self.at + self.text.len() as u32 + 2 * u32::from(self.quoted)
    }

    /// True where nothing is between this one and the next.
    pub fn touches(&self, next: &Token<'_>) -> bool {
        self.end() == next.at
    }
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
    /// More parentheses inside each other than anybody writes.
    #[error("more than {MAX_OPEN} parentheses are open; nothing behind this one is read")]
    Deep,
    /// More words than any data has.
    #[error("an entry of more than {MAX_WORDS} words")]
    Long,
    /// `)` with no `(` before it.
    #[error("a closing parenthesis without an opening one")]
    Close,
    /// A carriage return that is not the beginning of a line's end.
    #[error("a carriage return without a line feed behind it; lines end in LF or in CR LF")]
    Return,
}

/// What looks like a blank, or like nothing, and is part of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lookalike {
    /// NUL, a vertical tab, a form feed and their like.
    #[error(
        "the control character {0} is part of the word; write it as \\{0:03} where it is meant"
    )]
    Control(u8),
    /// U+00A0 in UTF-8.
    #[error(
        "a no-break space (U+00A0) is part of the word; write it as \\194\\160 where it is meant"
    )]
    NoBreakSpace,
    /// U+FEFF in UTF-8, behind the beginning of the text.
    #[error(
        "a byte-order mark (U+FEFF) is part of the word; write it as \\239\\187\\191 where it is meant"
    )]
    ByteOrderMark,
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
    /// The first in this entry, outside of quotes.
    lookalike: Option<(u32, Lookalike)>,
    /// The text has ended within this entry.
    is_within_entry: bool,
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
    Return,
    /// Part of a word, and perhaps the beginning of a `Lookalike`.
    Odd,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Word; 256];
    let mut control = 0;
    while control < b' ' {
        classes[control as usize] = Class::Odd;
        control += 1;
    }
    classes[DELETE as usize] = Class::Odd;
    classes[NO_BREAK_SPACE[0] as usize] = Class::Odd;
    classes[BYTE_ORDER_MARK[0] as usize] = Class::Odd;
    classes[b' ' as usize] = Class::Blank;
    classes[b'\t' as usize] = Class::Blank;
    classes[b'\r' as usize] = Class::Return;
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
const NO_BREAK_SPACE: &[u8] = b"\xc2\xa0";
const DELETE: u8 = 0x7f;

impl<'t> Scanner<'t> {
    /// Starts at the beginning of a file, past a UTF-8 byte-order mark.
    /// Positions are `u32`: a text has less than 4 GiB.
    pub fn of_file(text: &'t [u8]) -> Self {
        let mut scanner = Scanner::new(text);
        if text.starts_with(BYTE_ORDER_MARK) {
            scanner.at = BYTE_ORDER_MARK.len();
        }
        scanner
    }

    /// Starts at the beginning of a text that is no file.
    pub fn new(text: &'t [u8]) -> Self {
        debug_assert!(u32::try_from(text.len()).is_ok());
        Scanner {
            text,
            at: 0,
            unclosed: Vec::new(),
            lookalike: None,
            is_within_entry: false,
        }
    }

    /// What in the last entry may mislead its reader, and where.
    pub fn lookalike(&self) -> Option<(u32, Lookalike)> {
        self.lookalike
    }

    /// True where the last entry is broken since the text has ended within it.
    pub fn is_within_entry(&self) -> bool {
        self.is_within_entry
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
        self.lookalike = None;
        self.is_within_entry = false;
        while let Some(&octet) = self.text.get(self.at) {
            let at = self.at as u32;
            let read = match CLASSES[octet as usize] {
                Class::Word | Class::Escape | Class::Odd => self.word(),
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
                    self.skip_comment();
                    continue;
                }
                Class::Return if self.text.get(self.at + 1) != Some(&b'\n') => {
                    Err((at, Broken::Return))
                }
                Class::Return | Class::Blank | Class::Newline => {
                    self.at += 1;
                    continue;
                }
                Class::Open if open.len() == MAX_OPEN => {
                    self.at = self.text.len();
                    return Err(broken.unwrap_or((at, Broken::Deep)));
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
                Ok(token) if tokens.len() == MAX_WORDS => {
                    broken.get_or_insert((token.at, Broken::Long));
                }
                Ok(token) => tokens.push(token),
                Err(fault) => {
                    broken.get_or_insert(fault);
                    match fault.1 {
                        // A parenthesis behind it still counts.
                        Broken::Return => self.at += 1,
                        _ => self.skip_to_newline(),
                    }
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
        self.is_within_entry = true;
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

    /// A word goes on to blank space, a comment, a parenthesis or a quote.
    fn word(&mut self) -> Result<Token<'t>, Fault> {
        let start = self.at;
        while let Some(&octet) = self.text.get(self.at) {
            match CLASSES[octet as usize] {
                Class::Word => self.at += 1,
                Class::Escape => self.escape(),
                Class::Odd => self.odd(),
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
                Some(b'\r') => return Err(self.returned(start)),
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

    /// What a carriage return means in the quotes that began at `start`.
    fn returned(&self, start: usize) -> Fault {
        match self.text.get(self.at + 1) {
            Some(b'\n') => (start as u32, Broken::Quote),
            _ => (self.at as u32, Broken::Return),
        }
    }

    /// Passes over `\` and the character that it escapes, never over the end
    /// of a line.
    fn escape(&mut self) {
        self.at += match self.text.get(self.at + 1) {
            Some(b'\n' | b'\r') | None => 1,
            Some(_) => 2,
        };
    }

    /// Passes over an octet that may begin a `Lookalike`.
    fn odd(&mut self) {
        let rest = &self.text[self.at..];
        let found = match rest[0] {
            control if control < b' ' || control == DELETE => Some(Lookalike::Control(control)),
            _ if rest.starts_with(NO_BREAK_SPACE) => Some(Lookalike::NoBreakSpace),
            _ if rest.starts_with(BYTE_ORDER_MARK) => Some(Lookalike::ByteOrderMark),
            _ => None,
        };
        if let Some(found) = found {
            self.lookalike.get_or_insert((self.at as u32, found));
        }
        self.at += 1;
    }

    /// Goes to the end of the line, or to a carriage return before it.
    fn skip_comment(&mut self) {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|octet| b"\n\r".contains(octet));
        self.at += end.unwrap_or(rest.len());
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
        let mut scanner = Scanner::of_file(text);
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
            ["alpn=", "\"h2, h3\"", "port=1"]
        );
        let (mut tokens, text) = (Vec::new(), br#"a="b" "c""d" e"#);
        Scanner::new(text).next(&mut tokens).unwrap();
        let touching = tokens.windows(2).map(|pair| pair[0].touches(&pair[1]));
        assert_eq!(touching.collect::<Vec<_>>(), [true, false, true, false]);
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
        let count = if cfg!(miri) { 1000 } else { 100_000 };
        let found = entries(&b"a (\n".repeat(count));
        assert_eq!(found.len(), count);
        assert!(found.iter().all(|read| read.is_err()));
    }

    #[test]
    fn a_carriage_return_ends_a_line_with_a_line_feed_or_not_at_all() {
        let found = entries(b"a b\rc d\ne f\r\n;g\rh\ni \"j\rk\"\nl (m\rn\n)\no\\\rp\nq\r");
        let faults: Vec<Fault> = found.iter().filter_map(|read| read.clone().err()).collect();
        let places = [3, 15, 22, 30, 37, 41];
        assert_eq!(faults, places.map(|at| (at, Broken::Return)));
        let read: Vec<_> = found.iter().flatten().collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].1, ["e", "f"]);
        assert_eq!(entries(b"a \"b\r\nc\r\n").len(), 2);
        assert_eq!(entries(b"a \"b\r\n")[0], Err((2, Broken::Quote)));
        assert_eq!(entry("a b\\\r\n"), ["a", "b\\"]);
    }

    #[test]
    fn what_looks_like_a_blank_is_part_of_a_word() {
        for (text, words, found) in [
            (
                "a\0b c",
                vec!["a\0b", "c"],
                Some((1, Lookalike::Control(0))),
            ),
            (
                "\x0b a",
                vec!["\x0b", "a"],
                Some((0, Lookalike::Control(11))),
            ),
            (
                "a \x0c",
                vec!["a", "\x0c"],
                Some((2, Lookalike::Control(12))),
            ),
            ("a\x7f", vec!["a\x7f"], Some((1, Lookalike::Control(127)))),
            (
                "a\u{a0}b\0",
                vec!["a\u{a0}b\0"],
                Some((1, Lookalike::NoBreakSpace)),
            ),
            (
                "\u{feff}\u{feff}a",
                vec!["\u{feff}a"],
                Some((3, Lookalike::ByteOrderMark)),
            ),
            ("a \u{a9}\u{ff01}", vec!["a", "\u{a9}\u{ff01}"], None),
            ("a \"\u{a0}\0\" ; \0", vec!["a", "\"\u{a0}\0\""], None),
            ("a\\\0", vec!["a\\\0"], None),
        ] {
            let mut scanner = Scanner::of_file(text.as_bytes());
            scanner.next(&mut Vec::new()).unwrap();
            assert_eq!(scanner.lookalike(), found, "{text:?}");
            assert_eq!(entry(text), words);
        }
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
