//! Frame Streams (<https://farsightsec.github.io/fstrm/>): frames after one another, each
//! behind its length, and control frames, each behind a length of 0. Into a file
//! they go one way, between START and STOP; over a socket both sides agree first.
//!
//! ```text
//! we:    READY         START  frames …  STOP
//! they:         ACCEPT                        FINISH
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use crate::sys::{poll, user};

/// What the frames hold.
pub const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";
/// How long a reader may take to say something, or to take something.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest control frame, as fstrm has it.
const MAX_CONTROL: usize = 512;
/// The one field of control frames.
const FIELD_CONTENT_TYPE: u32 = 1;
/// Who may read what was asked by whom: the owner, and a group perhaps.
const MODE: u32 = 0o640;

/// Where dnstap goes: `FILE`, or `unix:PATH` for a socket that somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file.
    File(PathBuf),
    /// A UNIX socket.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (path, socket) = match text.strip_prefix("unix:") {
            Some(path) => (path, true),
            None => (text, false),
        };
        match (path, socket) {
            ("", _) => Err("write a file, or unix: and the path of a socket".into()),
            (path, true) => Ok(Target::Unix(path.into())),
            (path, false) => Ok(Target::File(path.into())),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::File(path) => write!(f, "{}", path.display()),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Target {
    /// Sees whether the calling thread's user can begin a stream here, and another one at
    /// a reload, as far as that can be told without doing it. Who listens on a socket may
    /// come later.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn check(&self) -> io::Result<()> {
        match self {
            Target::File(path) => match (fs::metadata(path), fs::symlink_metadata(path)) {
                (Ok(found), _) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
                (Err(_), Ok(_)) => Err(io::Error::other("a link to what is not there")),
                _ => user::may_write(place(path)),
            },
            Target::Unix(_) => Ok(()),
        }
    }

    /// Why there is no stream here, and what to do about it; `user` is who was to write.
    pub fn refusal(&self, error: &io::Error, user: &str) -> String {
        let sentence = format!("cannot log queries to {self}: {error}");
        let (Target::File(path), ErrorKind::PermissionDenied) = (self, error.kind()) else {
            return sentence;
        };
        let place = place(path);
        if place == path {
            let path = path.display();
            return format!(
                "{sentence}; the user {user} has to be able to write to it (`chown {user} {path}`), \
                    or choose another user with --user"
            );
        }
        // One of its own: to have such as /var/log is more than anybody needs.
        let own = place.join("dnstap");
        format!(
            "{sentence}; the user {user} makes the file, and another one at each reload, and has \
                to be able to do so in {}: name a file in a folder of its own, as `install -d -o \
                {user} {}` makes one, or choose another user with --user",
            place.display(),
            own.display()
        )
    }
}

/// What has to be writable: a pipe, a device or an empty file itself, and for all else
/// the folder, in which files are set aside and made.
fn place(path: &Path) -> &Path {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() || found.len() == 0 => path,
        _ => match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        },
    }
}

/// Control frames by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Accept = 1,
    Start = 2,
    Stop = 3,
    Ready = 4,
    Finish = 5,
}

/// A stream that has been started.
pub enum Stream {
    /// Into a file.
    File {
        /// The file.
        file: File,
        /// Octets in it, whole frames only.
        length: u64,
    },
    /// To who listens on a socket.
    Unix(UnixStream),
}

impl Stream {
    /// Opens the target and begins the stream.
    ///
    /// # Errors
    ///
    /// What the kernel says; a reader that wants something else, or says nothing
    /// for a second.
    pub fn open(target: &Target) -> io::Result<Stream> {
        match target {
            Target::File(path) => {
                let mut stream = Stream::File {
                    file: create(path)?,
                    length: 0,
                };
                stream.write(&control(Control::Start))?;
                Ok(stream)
            }
            Target::Unix(path) => {
                let mut socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                socket.write_all(&control(Control::Ready))?;
                expect(&mut socket, Control::Accept)?;
                socket.write_all(&control(Control::Start))?;
                Ok(Stream::Unix(socket))
            }
        }
    }

    /// Writes frames, all of them or none that a reader of the file would see.
    ///
    /// # Errors
    ///
    /// What the kernel says. `is_whole` tells whether the stream can go on.
    pub fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        match self {
            Stream::File { file, length } => {
                file.write_all(frames)?;
                *length += frames.len() as u64;
                Ok(())
            }
            Stream::Unix(socket) => socket.write_all(frames),
        }
    }

    /// After a write that failed: takes back what was written of it, if that can
    /// be, as on a disk that was full. False where the stream is broken.
    pub fn mend(&mut self) -> bool {
        match self {
            Stream::File { file, length } => {
                let cut = file.set_len(*length);
                cut.and_then(|()| file.seek(SeekFrom::Start(*length)))
                    .is_ok()
            }
            Stream::Unix(_) => false,
        }
    }

    /// Ends the stream as its reader expects it.
    ///
    /// # Errors
    ///
    /// What the kernel says, and a reader that does not confirm in time.
    pub fn finish(mut self) -> io::Result<()> {
        self.write(&control(Control::Stop))?;
        match self {
            Stream::File { file, .. } => file.sync_data().or_else(ignore_unsyncable),
            Stream::Unix(mut socket) => expect(&mut socket, Control::Finish),
        }
    }
}

/// Pipes and terminals keep nothing.
fn ignore_unsyncable(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::InvalidInput => Ok(()),
        _ => Err(error),
    }
}

/// A new file. One that is there and has something in it is set aside, since a
/// stream that has ended cannot be gone on with: by the time of its last change.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    match fs::metadata(path) {
        Ok(found) if found.file_type().is_fifo() => return open_pipe(path),
        // A device, or something that nobody has written to.
        Ok(found) if !found.is_file() || found.len() == 0 => return options.open(path),
        Ok(found) => {
            let changed = found.modified()?.duration_since(UNIX_EPOCH);
            set_aside(path, changed.unwrap_or_default().as_secs())?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    options.create_new(true).open(path)
}

/// Opens a pipe that somebody reads.
fn open_pipe(path: &Path) -> io::Result<File> {
    let begin = OpenOptions::new()
        .write(true)
        .custom_flags(poll::NONBLOCK)
        .open(path);
    match begin {
        // It has a reader now, and the next call does not wait for one.
        Ok(_begun) => OpenOptions::new().write(true).open(path),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        Err(_) => Err(io::Error::other(
            "nobody reads this pipe; start what does before the server",
        )),
    }
}

/// Renames a file, without ever writing over another one.
fn set_aside(path: &Path, time: u64) -> io::Result<()> {
    for number in 0..1000 {
        let mut aside = path.as_os_str().to_owned();
        match number {
            0 => aside.push(format!(".{time}")),
            number => aside.push(format!(".{time}-{number}")),
        }
        // A link fails where something has that name; a rename would replace it.
        match fs::hard_link(path, &aside) {
            Ok(()) => return fs::remove_file(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // A file system without links.
            Err(_) if !Path::new(&aside).exists() => return fs::rename(path, &aside),
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

fn control(kind: Control) -> Vec<u8> {
    let mut body = (kind as u32).to_be_bytes().to_vec();
    if matches!(kind, Control::Ready | Control::Start) {
        body.extend(FIELD_CONTENT_TYPE.to_be_bytes());
        body.extend((CONTENT_TYPE.len() as u32).to_be_bytes());
        body.extend(CONTENT_TYPE);
    }
    let mut frame = vec![0; 4];
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

fn expect(socket: &mut impl Read, kind: Control) -> io::Result<()> {
    let (escape, length) = (number(socket)?, number(socket)? as usize);
    if escape != 0 || !(4..=MAX_CONTROL).contains(&length) {
        return Err(refused("it does not speak Frame Streams"));
    }
    let found = number(socket)?;
    let mut fields = vec![0; length - 4];
    socket.read_exact(&mut fields)?;
    if found != kind as u32 {
        return Err(refused("it answers with another control frame"));
    }
    let types = content_types(&fields).ok_or_else(|| refused("it sends a broken control frame"))?;
    if kind == Control::Accept && !types.is_empty() && !types.contains(&CONTENT_TYPE) {
        return Err(refused("it does not take dnstap"));
    }
    Ok(())
}

fn number(from: &mut impl Read) -> io::Result<u32> {
    let mut octets = [0; 4];
    from.read_exact(&mut octets)?;
    Ok(u32::from_be_bytes(octets))
}

fn content_types(fields: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = crate::wire::Cursor::new(fields);
    let mut types = Vec::new();
    while !rest.is_empty() {
        let (field, length) = (rest.u32()?, rest.u32()?);
        let value = rest.take(length as usize)?;
        if field == FIELD_CONTENT_TYPE {
            types.push(value);
        }
    }
    Some(types)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_files_or_sockets() {
        assert_eq!("q.tap".parse(), Ok(Target::File("q.tap".into())));
        assert_eq!("unix:/run/d".parse(), Ok(Target::Unix("/run/d".into())));
        for text in ["", "unix:"] {
            assert!(text.parse::<Target>().is_err());
        }
        for text in ["q.tap", "unix:/run/d"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_reader_must_accept_what_is_sent() {
        let accept = |types: &[&[u8]]| {
            let mut body = 1u32.to_be_bytes().to_vec();
            for content in types {
                body.extend([0, 0, 0, 1, 0, 0, 0, content.len() as u8]);
                body.extend(*content);
            }
            [&[0, 0, 0, 0, 0, 0, 0, body.len() as u8][..], &body].concat()
        };
        let says = |octets: &[u8]| expect(&mut &*octets, Control::Accept).is_ok();
        assert!(says(&accept(&[])));
        assert!(says(&accept(&[b"other", CONTENT_TYPE])));
        assert!(!says(&accept(&[b"other"])));
        assert!(!says(&control(Control::Finish)));
        assert!(!says(b"HTTP/1.1 400 Bad Request"));
        assert!(!says(&[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 1]));
        assert!(!says(&[0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1]));
    }

    #[test]
    fn what_a_file_held_before_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.tap");
        let target = Target::File(path.clone());
        for _ in 0..3 {
            Stream::open(&target).unwrap().finish().unwrap();
        }
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 3, "{files:?}");
        let whole = [control(Control::Start), control(Control::Stop)].concat();
        for file in files {
            assert_eq!(fs::read(file.unwrap().path()).unwrap(), whole);
        }
    }

    #[test]
    fn what_has_to_be_writable_is_the_folder_unless_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.tap");
        assert_eq!(place(&path), folder.path());
        fs::write(&path, "").unwrap();
        assert_eq!(place(&path), path);
        fs::write(&path, "x").unwrap();
        assert_eq!(place(&path), folder.path());
        let null = Path::new("/dev/null");
        assert_eq!(place(null), null);
        let here = Path::new("there is no such file");
        assert_eq!(place(here), Path::new("."));
        let refusal = |error: ErrorKind| Target::File(path.clone()).refusal(&error.into(), "me");
        assert!(refusal(ErrorKind::PermissionDenied).contains("`install -d -o me "));
        assert!(!refusal(ErrorKind::NotFound).contains("user"));
        fs::write(&path, "").unwrap();
        assert!(refusal(ErrorKind::PermissionDenied).contains("(`chown me "));
    }

    #[test]
    fn a_write_that_failed_half_way_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.tap");
        let mut stream = Stream::open(&Target::File(path.clone())).unwrap();
        stream.write(b"whole").unwrap();
        let Stream::File { file, .. } = &mut stream else {
            panic!("no file");
        };
        file.write_all(b"ha").unwrap();
        assert!(stream.mend());
        stream.finish().unwrap();
        let expected = [
            &control(Control::Start)[..],
            b"whole",
            &control(Control::Stop),
        ];
        assert_eq!(fs::read(path).unwrap(), expected.concat());
    }
}
