//! What every answer depends on besides its request, whole and immutable. The
//! control thread exchanges it; each thread that answers looks once a batch
//! whether it has been (a relaxed load), and keeps what it has until then.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use crate::answer::Settings;
use crate::zone::Zones;

/// Zones and settings that hold together.
#[derive(Default)]
pub struct Snapshot {
    /// The zones.
    pub zones: Arc<Zones>,
    /// How requests are answered.
    pub settings: Settings,
}

/// The snapshot that holds now, and those that some thread may still answer from.
pub struct Snapshots {
    current: Arc<ArcSwap<Snapshot>>,
    /// Kept so that the thread that frees them is never one that answers.
    replaced: Vec<Arc<Snapshot>>,
}

/// A thread's view of the snapshot.
pub type View = Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;

/// A view of a snapshot that nobody exchanges.
pub fn fixed(snapshot: Snapshot) -> View {
    Snapshots::new(snapshot).view()
}

impl Snapshots {
    /// The first snapshot.
    pub fn new(snapshot: Snapshot) -> Snapshots {
        Snapshots {
            current: Arc::new(ArcSwap::from_pointee(snapshot)),
            replaced: Vec::new(),
        }
    }

    /// A view for a thread that answers.
    pub fn view(&self) -> View {
        Cache::new(self.current.clone())
    }

    /// The snapshot that holds now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Has another snapshot hold from now on. Each thread takes it before its next
    /// batch. How long connections may be idle is not decided anew, and so stays what
    /// clients are told of it.
    pub fn replace(&mut self, mut snapshot: Snapshot) {
        snapshot.settings.tcp_idle = self.current.load().settings.tcp_idle;
        let before = self.current.swap(Arc::new(snapshot));
        self.replaced.push(before);
    }

    /// Frees the snapshots that no thread answers from any more; returns how many
    /// are left.
    pub fn free(&mut self) -> usize {
        // A thread gives its own up before it takes the next one, and takes none
        // that was replaced.
        self.replaced.retain(|old| Arc::strong_count(old) > 1);
        self.replaced.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_freed_when_no_view_has_it() {
        let named = |name: &[u8]| Snapshot {
            settings: Settings {
                identity: name.into(),
                ..Settings::default()
            },
            ..Snapshot::default()
        };
        let mut snapshots = Snapshots::new(named(b"one"));
        let (mut first, mut second) = (snapshots.view(), snapshots.view());
        let identity = |view: &mut View| view.load().settings.identity.clone();
        assert_eq!(identity(&mut first), b"one");
        snapshots.replace(named(b"two"));
        let old = Arc::downgrade(&snapshots.replaced[0]);
        assert_eq!(snapshots.free(), 1);
        assert_eq!(identity(&mut first), b"two");
        assert_eq!(snapshots.free(), 1);
        assert_eq!(identity(&mut second), b"two");
        assert!(old.upgrade().is_some(), "no view frees it");
        assert_eq!(snapshots.free(), 0);
        assert!(old.upgrade().is_none());
        assert_eq!(snapshots.current().settings.identity, b"two");
    }
}
