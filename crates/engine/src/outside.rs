//! The goroutine profile, read from outside: where the target would stand still for too long, or come too near its
//! limit, if it made one itself. The same file, made of what a child of the reader's finds in the target's memory
//! while the target runs on.

use std::collections::HashMap;
use std::time::Duration;

use collect::{ProfileKind, Source};
use locate::Request;
use model::{Refusal, TargetId};
use profile::{LocationRef, Profile, ProfileBuilder, ProfileError};
use reader::{Call, Found, GoroutinesLook, HoldersBudget, LookAt};

use crate::evidence::{Capture, Subject, Terms};
use crate::holders::{self, looked};
use crate::main_loop::MainLoop;
use crate::rails::{self, Turn};

/// Between two tries while another look is under way.
const AGAIN: Duration = Duration::from_millis(500);

/// Whether goroutines may be read from outside, and what that may cost.
pub(crate) type Outside = Result<Option<HoldersBudget>, Refusal>;

/// What the timeline's line about it is called.
pub(crate) const CODE: &str = "read-from-outside";

impl Subject {
    /// Reads the goroutines from outside, if `terms` allow: the target may not be asked for them.
    pub(crate) async fn goroutines_outside(
        &self,
        source: &Source,
        terms: &Terms,
        to: &mut Capture,
    ) {
        let refused = |why: &str| {
            let why = format!("from outside neither: {why}");
            self.refused(Request::GoroutinesOutside, Refusal::Failed { why })
        };
        let budget = match &terms.outside {
            Ok(Some(budget)) => *budget,
            Ok(None) => return,
            Err(refusal) => {
                let capture = rails::evidence_of(Request::GoroutinesOutside);
                to.refusals
                    .push(refused(&rails::in_words(capture, refusal)));
                return;
            }
        };
        match self.read_goroutines(source, budget).await {
            Ok((look, profile)) => {
                let evidence = rails::evidence_of(Request::GoroutinesOutside);
                let name = format!("{}-{}.pb.gz", terms.prefix, ProfileKind::Goroutine.as_str());
                let file = self.file(evidence, look.at, name, profile.to_gzip());
                to.files.push(file);
                to.look.goroutine = Some(profile);
                to.notes.push(in_words(&look));
            }
            Err(why) => to.refusals.push(refused(&why)),
        }
    }

    async fn read_goroutines(
        &self,
        source: &Source,
        budget: HoldersBudget,
    ) -> Result<(GoroutinesLook, Profile), String> {
        let process = self.process.clone();
        let process = process.ok_or("it is no process of this host")?;
        let deadline = source.clock.monotonic() + budget.time;
        let look = loop {
            match looked(source, process.clone(), LookAt::Goroutines, budget).await {
                Ok(Found::Goroutines(look)) => break look,
                Ok(_) => return Err("the reader looked at something else".into()),
                // Another target's look, or an operator's.
                Err(failure) if failure.is_passing() && source.clock.monotonic() < deadline => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(failure) => return Err(failure.reason),
            }
        };
        let made = move || profile_of(&look).map(|profile| (look, profile));
        match tokio::task::spawn_blocking(made).await {
            Ok(made) => made.map_err(|error| error.to_string()),
            Err(_) => Err(holders::Refusal::cut_off().reason),
        }
    }
}

impl MainLoop {
    /// Whether the goroutines of target `id` may be read from outside, where the rails do not let it make a profile.
    /// What is allowed has begun, and the capture that it is for ends it.
    pub(crate) fn begin_outside(&mut self, id: &TargetId) -> Outside {
        let Some(budget) = self.config.inspect.budget() else {
            return Ok(None);
        };
        let Some(tracked) = self.targets.get(id) else {
            return Ok(None);
        };
        let (standing, settings) = (tracked.standing(), &self.config.evidence);
        let has_memory = tracked.view.target.process.is_some();
        let may_ask = rails::allowed(Request::Goroutine, &standing, settings).is_ok();
        if may_ask || !has_memory || tracked.endpoint.pprof_bases.is_empty() {
            return Ok(None);
        }
        let (ask, now) = (
            Request::GoroutinesOutside,
            self.parts.source.clock.monotonic(),
        );
        let whose = tracked.whose();
        if let Some(refusal) = self.own.keeper.refusal() {
            return Err(refusal);
        }
        self.rails
            .begin(ask, Turn::First, whose, &standing, settings, now)?;
        Ok(Some(budget))
    }
}

/// `goroutine profile read from outside instead: 100,004 goroutines ...`.
fn in_words(look: &GoroutinesLook) -> String {
    let counted = |count: u64, what: &str| match count {
        0 => String::new(),
        count => format!(", {count} {what}"),
    };
    format!(
        "goroutine profile read from outside instead, approximate as the service ran on: {} goroutines at {} \
         places{}{}; {}",
        look.count,
        look.stacks.len(),
        counted(look.moved, "moved meanwhile"),
        counted(look.without_stack, "without a stack"),
        look.cost
    )
}

/// The profile that the target would have made, without addresses.
fn profile_of(look: &GoroutinesLook) -> Result<Profile, ProfileError> {
    let mut made = ProfileBuilder::new(&[("goroutine", "count")]);
    made.time(look.at.0.saturating_mul(1_000_000), 0)
        .period("goroutine", "count", 1)
        .comment(&in_words(look));
    let mut known: HashMap<&Call, LocationRef> = HashMap::new();
    for stack in &look.stacks {
        let calls = stack.calls.iter().map(|call| {
            *known.entry(call).or_insert_with(|| {
                let function = made.function(&call.function, &call.file, 0);
                made.location(0, &[(function, call.line.into())])
            })
        });
        let calls: Vec<LocationRef> = calls.collect();
        made.sample(&calls, &[i64::try_from(stack.count).unwrap_or(i64::MAX)]);
    }
    made.build()
}

#[cfg(test)]
mod tests {
    use model::UnixMs;
    use reader::{GoroutineStack, HoldersCost};

    use super::*;

    #[test]
    fn what_was_read_is_a_goroutine_profile_and_says_that_it_is_approximate() {
        let call = |function: &str, line| Call {
            function: function.into(),
            file: "park.go".into(),
            line,
        };
        let stack = |count, calls: &[&Call]| GoroutineStack {
            count,
            calls: calls.iter().map(|call| (*call).clone()).collect(),
        };
        let (gopark, park, main) = (
            call("runtime.gopark", 400),
            call("main.park", 47),
            call("main.main", 9),
        );
        let look = GoroutinesLook {
            at: UnixMs(1_700_000_000_000),
            cost: HoldersCost {
                time_ms: 900,
                cpu_ms: 800,
                copied_bytes: 30 << 20,
                memory_bytes: 90 << 20,
            },
            count: 100_004,
            moved: 2,
            without_stack: 3,
            stacks: vec![
                stack(100_000, &[&gopark, &park]),
                stack(1, &[&gopark, &main]),
            ],
        };
        let profile = profile_of(&look).unwrap();
        let bytes = profile.to_gzip();
        let again = Profile::parse(&bytes, &profile::Limits::default()).unwrap();
        let column = again.sample_type_index("goroutine").unwrap();
        let counts: Vec<i64> = again.samples().map(|s| s.values()[column]).collect();
        assert_eq!(counts, [100_000, 1]);
        assert_eq!(
            in_words(&look),
            "goroutine profile read from outside instead, approximate as the service ran on: 100004 goroutines at 2 \
             places, 2 moved meanwhile, 3 without a stack; 0.90 s, 0.80 s of CPU, 30 MiB copied, 90 MiB of memory"
        );
    }
}
