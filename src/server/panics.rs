//! Catching a panic with its message, place and backtrace. Rust hands these to
//! a process-wide hook only, before it unwinds; the hook here keeps them for
//! threads that are inside `catch` and passes the others on to the hook before.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `body`. Where it panics, returns message and place, and the backtrace.
///
/// The caller vouches for what `body` changed: it must be good for being used
/// again after a panic in the middle.
pub fn catch<T>(body: impl FnOnce() -> T) -> Result<T, (String, String)> {
    HOOK.call_once(install_hook);
    CATCHING.set(true);
    let done = panic::catch_unwind(AssertUnwindSafe(body));
    CATCHING.set(false);
    done.map_err(|_| CAUGHT.take().unwrap_or_default())
}

fn install_hook() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if CATCHING.get() {
            let backtrace = Backtrace::force_capture().to_string();
            CAUGHT.set(Some((info.to_string(), backtrace)));
        } else {
            before(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_place() {
        let (message, backtrace) = catch(|| panic!("the text")).unwrap_err();
        assert!(
            message.contains("the text") && message.contains("panics.rs"),
            "{message}"
        );
        assert!(
            backtrace.contains("a_panic_is_caught_with_its_place"),
            "{backtrace}"
        );
        assert_eq!(catch(|| 7), Ok(7));
    }
}
