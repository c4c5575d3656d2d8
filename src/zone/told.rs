//! How many faults a person is told: a file whose every line is wrong has as many
//! to say as it has lines, and the first few say it all.

use super::text::fault::Fault;

/// Faults of one file that are told.
pub const PER_FILE: usize = 20;
/// Faults of all files that are told.
pub const IN_ALL: usize = 100;

/// What has been told, and what still may be.
pub struct Told {
    per_file: usize,
    left: usize,
    untold: usize,
}

impl Told {
    /// Nothing has been told. With `all` there is no limit.
    pub fn nothing(all: bool) -> Told {
        let (per_file, left) = match all {
            true => (usize::MAX, usize::MAX),
            false => (PER_FILE, IN_ALL),
        };
        Told {
            per_file,
            left,
            untold: 0,
        }
    }

    /// Hands what may be told of a file's faults to `line`, errors first, and how
    /// many it leaves out.
    pub fn tell<E>(
        &mut self,
        faults: &[Fault],
        mut line: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let told = faults.len().min(self.per_file).min(self.left);
        for fault in &faults[..told] {
            line(&fault.to_string())?;
        }
        self.left -= told;
        let untold = faults.len() - told;
        // Where all is used up, they are counted together at the end.
        match (untold, told) {
            (0, _) => {}
            (_, 0) => self.untold += untold,
            (_, _) => line(&format!("{}: and {untold} more", faults[0].path))?,
        }
        Ok(())
    }

    /// How many faults of files of which nothing was told were left out.
    pub fn untold(&self) -> usize {
        self.untold
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::load;
    use crate::zone::text::Library;

    fn faults(lines: usize) -> Vec<Fault> {
        let text = "x A\n".repeat(lines);
        let texts: &'static str = Box::leak(text.into_boxed_str());
        let texts: &'static [_] = Box::leak(vec![("x.zone", texts)].into_boxed_slice());
        let loaded = load(Library::Embedded(texts), "x.zone".as_ref(), None).unwrap();
        assert!(loaded.faults.len() >= lines);
        loaded.faults[..lines].to_vec()
    }

    fn tell(told: &mut Told, faults: &[Fault]) -> Vec<String> {
        let mut lines = Vec::new();
        let line = |text: &str| {
            lines.push(text.lines().next().unwrap().to_owned());
            Ok::<_, ()>(())
        };
        told.tell(faults, line).unwrap();
        lines
    }

    #[test]
    #[cfg_attr(miri, ignore = "embedded texts live forever, which is a leak there")]
    fn twenty_of_a_file_and_a_hundred_in_all() {
        let (twenty, more) = (faults(20), faults(21));
        let mut told = Told::nothing(false);
        assert_eq!(tell(&mut told, &twenty).len(), 20);
        let lines = tell(&mut told, &more);
        assert_eq!((lines.len(), &*lines[20]), (21, "x.zone: and 1 more"));
        for _ in 0..3 {
            assert_eq!(tell(&mut told, &twenty).len(), 20);
        }
        assert!(tell(&mut told, &more).is_empty());
        assert_eq!(told.untold(), 21);
        let mut all = Told::nothing(true);
        assert_eq!(tell(&mut all, &faults(300)).len(), 300);
    }
}
