//! Gives memory back to the system after a burst of requests.
//!
//! The allocator of most Linux systems keeps what was freed: a gateway that once held a thousand conversations would
//! stay as large for the rest of its life. Elsewhere this does nothing.

use std::sync::Arc;
use std::time::Duration;

use super::Activity;

/// From the end of the last request on. Walking a large heap takes milliseconds, and a conversation's next request soon
/// needs the same memory again.
const PAUSE: Duration = Duration::from_secs(30);

/// Calls `give_back` each time that nothing runs [`PAUSE`] after the last request ended: never twice within it.
pub async fn give_back_when_idle(activity: Arc<Activity>, give_back: impl Fn()) {
    loop {
        activity.busy().await;
        activity.idle().await;
        tokio::time::sleep(PAUSE).await;
        if activity.running() == 0 {
            give_back();
        }
    }
}

/// Returns the free pages of all of this process's heaps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the one call that no crate wraps")]
pub fn give_back() {
    // SAFETY: it takes the allocator's own locks, reads nothing of ours and frees only what is free already.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Instant;

    use super::*;

    /// A moment that lets the task see what happened.
    const MOMENT: Duration = Duration::from_millis(1);

    #[actix_rt::test]
    async fn memory_is_given_back_once_after_each_burst_and_never_while_something_runs() {
        tokio::time::pause();
        let (activity, given) = (Arc::new(Activity::new(Instant::now())), Rc::new(Cell::new(0)));
        let count = Rc::clone(&given);
        actix_rt::spawn(give_back_when_idle(Arc::clone(&activity), move || count.set(count.get() + 1)));
        tokio::time::sleep(PAUSE * 3).await;
        assert_eq!(given.get(), 0, "nothing ran");

        let request = activity.begin();
        tokio::time::sleep(PAUSE * 3).await;
        assert_eq!(given.get(), 0, "a request runs");
        drop(request);
        tokio::time::sleep(PAUSE - MOMENT).await;
        let again = activity.begin();
        tokio::time::sleep(PAUSE * 3).await;
        assert_eq!(given.get(), 0, "another request began in the pause");

        drop(again);
        tokio::time::sleep(PAUSE + MOMENT).await;
        assert_eq!(given.get(), 1);
        tokio::time::sleep(PAUSE * 10).await;
        assert_eq!(given.get(), 1, "nothing ran since");
    }
}
