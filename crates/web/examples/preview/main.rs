//! Serves the pages with a made-up fleet, for whoever works on their looks:
//! `cargo run -p web --example preview [PORT]`. The figures move on by a minute every two seconds;
//! a second argument `still` keeps them.

mod made_up;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use made_up::MadeUp;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let port = args.next().map_or(Ok(7788), |port| port.parse::<u16>())?;
    let still = args.next().is_some_and(|word| word == "still");
    let made_up = Arc::new(MadeUp::default());
    let (changed, version) = tokio::sync::watch::channel(0);
    let seams = made_up.clone();
    let operator = web::Operator::Anybody;
    let state = web::WebState::new(seams.clone(), seams.clone(), seams, operator, version);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(2));
        loop {
            ticks.tick().await;
            if !still {
                let minute = made_up.minutes.fetch_add(1, Ordering::Relaxed);
                changed.send_replace(minute + 1);
            }
        }
    });
    axum::serve(listener, web::router(state)).await?;
    Ok(())
}
