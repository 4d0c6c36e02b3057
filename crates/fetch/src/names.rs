//! Host names to addresses, a few at a time: a look-up blocks a thread until the DNS answers, and when it is
//! dead that is long after nobody waits for it any more. Reading targets has to have threads left.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

/// Look-ups at a time for GETs, of all fetchers together,
const FOR_GETS: usize = 4;
/// and for POSTs, which tell people: they do not wait behind targets whose names nobody knows.
const FOR_POSTS: usize = 2;

pub(crate) static GETS: Names = Names(Semaphore::const_new(FOR_GETS));
pub(crate) static POSTS: Names = Names(Semaphore::const_new(FOR_POSTS));

/// Looks names up, so many at a time.
pub(crate) struct Names(Semaphore);

impl Names {
    /// The addresses of `host`, with `port`.
    pub(crate) async fn addresses(
        &'static self,
        host: String,
        port: u16,
    ) -> io::Result<Vec<SocketAddr>> {
        self.look_up(move || Ok((host.as_str(), port).to_socket_addrs()?.collect()))
            .await
    }

    /// `ask` blocks. Its place is free again when it is over, whether or not somebody still waits.
    async fn look_up<T: Send + 'static>(
        &'static self,
        ask: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let place = self.0.acquire().await.map_err(io::Error::other)?;
        let work = move || {
            let answer = ask();
            drop(place);
            answer
        };
        let answer = tokio::task::spawn_blocking(work).await;
        answer.map_err(io::Error::other)?
    }
}

/// The same for reqwest.
pub(crate) struct ForPosts;

impl Resolve for ForPosts {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            // The port is put in by whoever asks.
            let found = POSTS.addresses(host, 0).await?;
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    static UNDER_TEST: Names = Names(Semaphore::const_new(2));
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);

    #[tokio::test]
    async fn look_ups_that_nobody_waits_for_still_have_their_places() {
        let dead = || {
            let now = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
            MOST.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(300));
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        let patience = Duration::from_millis(50);
        let all = (0..8).map(|_| {
            tokio::spawn(async move {
                let asked = tokio::time::timeout(patience, UNDER_TEST.look_up(dead)).await;
                assert!(asked.is_err(), "a dead DNS answers nobody in time");
            })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        let late = tokio::time::timeout(patience, UNDER_TEST.look_up(dead)).await;
        assert!(late.is_err(), "its turn has not come");
        assert_eq!(MOST.load(Ordering::SeqCst), 2);
        UNDER_TEST.look_up(|| Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn a_name_is_found_and_one_that_is_none_is_said() {
        let found = GETS.addresses("localhost".into(), 7).await.unwrap();
        assert!(
            found
                .iter()
                .all(|at| at.ip().is_loopback() && at.port() == 7)
        );
        assert!(GETS.addresses("no name".into(), 7).await.is_err());
    }
}
