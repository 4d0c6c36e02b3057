//! Work shared among threads.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

/// What `work` makes of each of `items`, in their order, with up to `threads` threads.
pub(crate) fn share<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let threads = threads.clamp(1, items.len().max(1));
    let next = Mutex::new(items.into_iter().enumerate());
    let part = || {
        let mut done = Vec::new();
        loop {
            // Another thread's panic is passed on below.
            let Some((at, item)) = next.lock().ok().and_then(|mut items| items.next()) else {
                return done;
            };
            done.push((at, work(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(part)).collect();
        let mut all = part();
        for helper in helpers {
            all.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        all
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for threads in [0, 1, 3, 100] {
            let doubled = share((0..20).collect(), threads, |item| item * 2);
            assert!(doubled.into_iter().eq((0..20).map(|item| item * 2)));
        }
        assert!(share(Vec::<u8>::new(), 4, |item| item).is_empty());
    }
}
