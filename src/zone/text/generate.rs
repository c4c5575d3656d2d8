//! `$GENERATE start-stop[/step]`: one line that stands for many, as BIND reads
//! it. `$` becomes the number, `${offset,width,base}` the number shifted,
//! padded and in another base, `$$` and `\$` a dollar sign.

use super::rdata::excerpt;
use super::scanner::{Scanner, Token};
use super::{MAX_GENERATED_OCTETS, Reader, Scope, Wrong, is_ttl_or_class, wrong};

/// Records that one directive may make: the addresses of an IPv4 /8.
pub const MAX_GENERATED: u32 = 1 << 24;

/// The numbers that a directive runs through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberRange {
    /// The first number.
    pub start: u32,
    /// The last number, included where a step reaches it.
    pub stop: u32,
    /// The distance between two numbers, at least 1.
    pub step: u32,
}

impl NumberRange {
    /// Reads `start-stop` or `start-stop/step`.
    pub fn parse(text: &[u8]) -> Result<NumberRange, String> {
        let shown = excerpt(text);
        let broken =
            || format!("range `{shown}`: write start-stop or start-stop/step, as in 1-254");
        let (range, step) = shown.split_once('/').unwrap_or((&shown, "1"));
        let (start, stop) = range.split_once('-').ok_or_else(broken)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| broken());
        let (start, stop, step) = (number(start)?, number(stop)?, number(step)?);
        if step == 0 {
            return Err(format!("range `{shown}`: a step of 0 gets nowhere"));
        }
        if stop < start {
            return Err(format!("range `{shown}` is empty: it must rise"));
        }
        if (stop - start) / step >= MAX_GENERATED {
            return Err(format!(
                "range `{shown}`: more than {MAX_GENERATED} records"
            ));
        }
        Ok(NumberRange { start, stop, step })
    }

    /// The numbers, in order.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (self.start..=self.stop).step_by(self.step as usize)
    }
}

impl Reader {
    /// `$GENERATE range owner [ttl] [class] type rdata…`: the rest of the line
    /// is written out for each number and read as any other line. Data in one pair
    /// of quotes is what is in them, as BIND has it: `MX "10 mail$"`.
    pub(super) fn generate(
        &mut self,
        scope: &mut Scope,
        tokens: &[Token<'_>],
    ) -> Result<(), Wrong> {
        let [directive, range, line @ ..] = tokens else {
            return wrong(
                &tokens[0],
                "$GENERATE takes a range, as 1-254, and a record",
            );
        };
        let range = NumberRange::parse(range.text).or_else(|sentence| wrong(range, sentence))?;
        if line.len() < 3 {
            return wrong(
                directive,
                "$GENERATE takes a range, an owner, a type and data",
            );
        }
        let template = Template {
            line,
            is_wrapped: is_wrapped(line),
        };
        self.generated_at = Some(directive.at);
        // A blank owner behind it is the one before it, as BIND has it.
        let owner = scope.owner;
        let made = range
            .numbers()
            .try_for_each(|number| self.generated(scope, &template, number));
        scope.owner = owner;
        self.generated_at = None;
        made
    }

    fn generated(
        &mut self,
        scope: &mut Scope,
        template: &Template<'_, '_>,
        number: u32,
    ) -> Result<(), Wrong> {
        let (text, starts) = template.write(number)?;
        self.generated += text.len() as u64;
        if self.generated > MAX_GENERATED_OCTETS {
            return wrong(
                &template.line[0],
                "$GENERATE has made 4 GiB of lines in this zone, and makes no more",
            );
        }
        let mut tokens = Vec::new();
        let read = match Scanner::new(&text).next(&mut tokens) {
            Ok(Some(_)) => self.record(scope, false, &tokens),
            Ok(None) => Ok(()),
            Err((at, broken)) => Err(Wrong {
                at,
                sentence: broken.to_string(),
            }),
        };
        read.map_err(|Wrong { at, sentence }| {
            let made = excerpt(text.trim_ascii_end());
            let from = starts.partition_point(|&start| start <= at as usize);
            Wrong {
                at: template.line[from.saturating_sub(1)].at,
                sentence: format!("for {number}, `{made}`: {sentence}"),
            }
        })
    }
}

/// What stands behind the range.
struct Template<'l, 't> {
    line: &'l [Token<'t>],
    /// The last token is all data there is, and in quotes.
    is_wrapped: bool,
}

impl Template<'_, '_> {
    /// The line for one number, and where each token begins in it.
    fn write(&self, number: u32) -> Result<(Vec<u8>, Vec<usize>), Wrong> {
        let mut text = Vec::new();
        let mut starts = Vec::with_capacity(self.line.len());
        for (index, token) in self.line.iter().enumerate() {
            starts.push(text.len());
            let is_wrapped = self.is_wrapped && index == self.line.len() - 1;
            let unwrapped = is_wrapped.then(|| unwrap(token.text));
            let quote: &[u8] = match token.quoted && !is_wrapped {
                true => b"\"",
                false => b"",
            };
            text.extend_from_slice(quote);
            let template = unwrapped.as_deref().unwrap_or(token.text);
            substitute(template, number, &mut text).or_else(|sentence| wrong(token, sentence))?;
            text.extend_from_slice(quote);
            if !self
                .line
                .get(index + 1)
                .is_some_and(|next| token.touches(next))
            {
                text.push(b' ');
            }
        }
        Ok((text, starts))
    }
}

/// True where all data behind the type stands in one pair of quotes.
fn is_wrapped(line: &[Token<'_>]) -> bool {
    let [_, before @ .., data] = line else {
        return false;
    };
    let behind = before.iter().skip_while(|token| is_ttl_or_class(token));
    data.quoted && behind.count() == 1
}

/// What is in the quotes: a backslash before a quote goes, others stay for the
/// data's own reader.
fn unwrap(quoted: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let [octet, behind @ ..] = rest {
        rest = behind;
        match (octet, behind) {
            (b'\\', [b'"', behind @ ..]) => {
                text.push(b'"');
                rest = behind;
            }
            (b'\\', [escaped, behind @ ..]) => {
                text.extend([b'\\', *escaped]);
                rest = behind;
            }
            _ => text.push(*octet),
        }
    }
    text
}

/// Appends `template` to `out` with `number` in its place. An offset holds for
/// each `$` behind it, too, until there is another, as BIND has it.
pub fn substitute(template: &[u8], number: u32, out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = template;
    let mut offset = 0;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match (octet, after.first()) {
            (b'\\', Some(&next)) => {
                out.extend([b'\\', next]);
                rest = &after[1..];
            }
            (b'$', Some(b'$')) => {
                out.extend(b"\\$");
                rest = &after[1..];
            }
            (b'$', Some(b'{')) => {
                let end = after.iter().position(|&octet| octet == b'}');
                let end = end.ok_or("`${` without `}`")?;
                let shape = Shape::parse(&after[1..end])?;
                shape.write(number, out)?;
                offset = shape.offset;
                rest = &after[end + 1..];
            }
            (b'$', _) => {
                let value = i64::from(number).saturating_add(offset);
                out.extend(value.to_string().into_bytes());
            }
            (octet, _) => out.push(octet),
        }
    }
    Ok(())
}

/// What stands between `${` and `}`.
struct Shape {
    offset: i64,
    width: usize,
    base: Base,
}

enum Base {
    Decimal,
    Octal,
    Hex {
        upper: bool,
    },
    /// Hexadecimal digits from the lowest up with dots between, as in ip6.arpa.
    Nibbles {
        upper: bool,
    },
}

impl Shape {
    fn parse(text: &[u8]) -> Result<Shape, String> {
        let shown = excerpt(text);
        let broken =
            || format!("`${{{shown}}}`: write ${{offset,width,base}}, base one of d o x X n N");
        let mut parts = shown.split(',');
        let offset = parts.next().unwrap_or("0").parse().map_err(|_| broken())?;
        // A label has at most 63 octets and a name 255; more can never fit.
        let width = parts.next().unwrap_or("0").parse().map_err(|_| broken())?;
        let base = match parts.next().unwrap_or("d") {
            "d" => Base::Decimal,
            "o" => Base::Octal,
            "x" => Base::Hex { upper: false },
            "X" => Base::Hex { upper: true },
            "n" => Base::Nibbles { upper: false },
            "N" => Base::Nibbles { upper: true },
            _ => return Err(broken()),
        };
        if parts.next().is_some() || width > 255 {
            return Err(broken());
        }
        Ok(Shape {
            offset,
            width,
            base,
        })
    }

    fn write(&self, number: u32, out: &mut Vec<u8>) -> Result<(), String> {
        let value = i64::from(number).saturating_add(self.offset);
        let width = self.width;
        let digits = match self.base {
            Base::Decimal => format!("{value:0width$}"),
            Base::Octal => format!("{:0width$o}", self.unsigned(value)?),
            Base::Hex { upper: false } => format!("{:0width$x}", self.unsigned(value)?),
            Base::Hex { upper: true } => format!("{:0width$X}", self.unsigned(value)?),
            Base::Nibbles { upper } => nibbles(self.unsigned(value)?, width, upper),
        };
        out.extend(digits.into_bytes());
        Ok(())
    }

    /// A sum below 0 as the 32 bits of its two's complement, as BIND has it
    /// everywhere but in decimals.
    fn unsigned(&self, value: i64) -> Result<u64, String> {
        if value >= 0 {
            return Ok(value.unsigned_abs());
        }
        let bits = i32::try_from(value).map(i32::cast_unsigned);
        bits.map(u64::from)
            .map_err(|_| format!("{value} is less than {} and has no 32 bits", i32::MIN))
    }
}

/// The width counts characters, dots among them: 12 in width 7 is `c.0.0.0`.
fn nibbles(value: u64, width: usize, upper: bool) -> String {
    let digits = format!("{value:x}");
    let padding = width.div_ceil(2).saturating_sub(digits.len());
    let reversed = digits
        .chars()
        .rev()
        .chain(std::iter::repeat_n('0', padding));
    let mut text = String::new();
    for digit in reversed {
        if !text.is_empty() {
            text.push('.');
        }
        text.push(if upper {
            digit.to_ascii_uppercase()
        } else {
            digit
        });
    }
    if text.len() < width {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str, number: u32) -> Result<String, String> {
        let mut out = Vec::new();
        substitute(template.as_bytes(), number, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn ranges() {
        let numbers = |text: &str| {
            NumberRange::parse(text.as_bytes()).map(|range| range.numbers().collect::<Vec<_>>())
        };
        assert_eq!(numbers("1-3"), Ok(vec![1, 2, 3]));
        assert_eq!(numbers("0-10/4"), Ok(vec![0, 4, 8]));
        assert_eq!(numbers("5-5"), Ok(vec![5]));
        for broken in [
            "",
            "1",
            "1-",
            "-1",
            "3-1",
            "1-3/0",
            "1-3/x",
            "0-16777216",
            "1--2",
        ] {
            assert!(numbers(broken).is_err(), "{broken}");
        }
        let most = || NumberRange::parse(b"0-16777215").unwrap().numbers();
        let count = MAX_GENERATED as usize;
        assert_eq!(most().nth(count - 1), Some(16_777_215));
        assert_eq!(most().nth(count), None);
        assert_eq!(
            NumberRange::parse(b"4294967295-4294967295")
                .unwrap()
                .numbers()
                .count(),
            1
        );
    }

    #[test]
    fn substitution() {
        for (template, number, expanded) in [
            ("host$", 7, "host7"),
            ("$.$", 7, "7.7"),
            ("a$$b", 7, r"a\$b"),
            (r"a\$b", 7, r"a\$b"),
            ("${0}", 7, "7"),
            ("${-1}", 7, "6"),
            ("${-8}", 7, "-1"),
            ("${-8,3}", 7, "-01"),
            ("${10}-$-${0,2}-$", 7, "17-17-07-7"),
            ("${10,5}", 7, "00017"),
            ("${0,3,o}", 8, "010"),
            ("${0,4,x}", 255, "00ff"),
            ("${0,4,X}", 255, "00FF"),
            ("${0,7,n}", 12, "c.0.0.0"),
            ("${0,1,n}", 0x1ab, "b.a.1"),
            ("${0,7,N}", 0xab, "B.A.0.0"),
            ("${0,2,n}", 1, "1."),
            ("${-3,3,n}", 1, "e.f.f.f.f.f.f.f"),
            ("${-300,20,N}", 2, "6.D.E.F.F.F.F.F.0.0."),
            ("${-2,0,x}", 1, "ffffffff"),
            ("${-3,0,X}", 1, "FFFFFFFE"),
            ("${-2,0,o}", 1, "37777777777"),
            ("${-2147483649,0,x}", 1, "80000000"),
            ("${0,4,n}", 1, "1.0."),
        ] {
            assert_eq!(
                expand(template, number).as_deref(),
                Ok(expanded),
                "{template}"
            );
        }
        for broken in [
            "${",
            "${}",
            "${x}",
            "${0,x}",
            "${0,0,q}",
            "${0,0,d,1}",
            "${0,256}",
            "${-2147483656,0,x}",
        ] {
            assert!(expand(broken, 7).is_err(), "{broken}");
        }
    }
}
