//! Files of results: whole or not at all, and never a quick one in a full one's
//! place.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::lab::EXPERIMENTS;
use crate::lab::record::Record;

/// The page of all experiments.
const PAGE: &str = "report.html";

/// Content of a file.
pub type Content<'c> = &'c dyn Fn(&mut dyn Write) -> anyhow::Result<()>;

/// A file needs a folder.
pub fn check_folder(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    if folder.is_some_and(|folder| !folder.is_dir()) {
        bail!("cannot write {}: there is no such folder", path.display());
    }
    Ok(())
}

/// A quick run does not take the place of a record that says more.
pub fn check_record(path: &Path) -> anyhow::Result<()> {
    if is_full(path) {
        bail!(
            "{} holds the record of a full run, which a quick one would write over; give \
                another name",
            path.display()
        );
    }
    Ok(())
}

/// A quick run does not take the place of a report that says more.
pub fn check_report(folder: &Path) -> anyhow::Result<()> {
    let record = |name: &str| folder.join(format!("{name}.json"));
    let mut records = EXPERIMENTS.iter().map(|experiment| record(experiment.name));
    let is_page_alone = folder.join(PAGE).exists()
        && !EXPERIMENTS
            .iter()
            .any(|experiment| record(experiment.name).exists());
    if is_page_alone || records.any(|path| is_full(&path)) {
        bail!(
            "{} holds a full report, which a quick run would write over; give another folder",
            folder.display()
        );
    }
    Ok(())
}

/// True of a file that is there and not known to be a quick run's.
fn is_full(path: &Path) -> bool {
    match fs::read_to_string(path) {
        Err(_) => path.is_file(),
        Ok(text) => !Record::read(&text).is_ok_and(|record| record.conditions.quick),
    }
}

/// Writes a file beside its place and moves it there when it is whole.
pub fn write(path: &Path, content: Content<'_>) -> anyhow::Result<()> {
    let name = path.display();
    // A terminal or a pipe is written to as it is.
    let is_device = path.exists() && !path.is_file();
    let beside = match path.file_name() {
        Some(file) if !is_device => {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(file);
            hidden.push(".partial");
            path.with_file_name(hidden)
        }
        _ => path.to_owned(),
    };
    let written = fill(&beside, content).and_then(|()| {
        if beside != path {
            fs::rename(&beside, path)?;
        }
        Ok(())
    });
    if written.is_err() && beside != path {
        let _ = fs::remove_file(&beside);
    }
    written.with_context(|| format!("cannot write {name}"))
}

fn fill(path: &Path, content: Content<'_>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    content(&mut out)?;
    Ok(out.flush()?)
}

/// The files of a report, which come to their place together when all are there.
/// Dropped before that, they are gone, and what was there before stays.
pub struct ReportFiles {
    folder: PathBuf,
    partial: tempfile::TempDir,
    names: Vec<String>,
}

impl ReportFiles {
    /// For a report in the folder, which is made.
    ///
    /// # Errors
    ///
    /// A folder that cannot be made or written to.
    pub fn new(folder: &Path) -> anyhow::Result<ReportFiles> {
        let cannot = || format!("cannot write to {}", folder.display());
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(ReportFiles {
            folder: folder.to_owned(),
            partial: tempfile::TempDir::with_prefix_in(".partial-", folder).with_context(cannot)?,
            names: Vec::new(),
        })
    }

    /// Writes a file.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write(&mut self, name: String, content: Content<'_>) -> anyhow::Result<()> {
        let path = self.partial.path().join(&name);
        let cannot = || format!("cannot write {} to {}", name, self.folder.display());
        fill(&path, content).with_context(cannot)?;
        self.names.push(name);
        Ok(())
    }

    /// Moves all to their place, the page last; returns where that is.
    ///
    /// # Errors
    ///
    /// A file that cannot be moved.
    pub fn finish(mut self, page: &str) -> anyhow::Result<PathBuf> {
        self.write(PAGE.into(), &|out| Ok(out.write_all(page.as_bytes())?))?;
        for name in &self.names {
            fs::rename(self.partial.path().join(name), self.folder.join(name))
                .with_context(|| format!("cannot move {name} to {}", self.folder.display()))?;
        }
        Ok(self.folder.join(PAGE))
    }
}
