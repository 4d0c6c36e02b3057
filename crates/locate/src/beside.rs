//! A leak of the heap beside a leak of goroutines. From outside both are one: the heap grows with the goroutines, so the
//! judge takes it for theirs. Two looks at who holds the heap know better.

use inspect::holders::{Change, HolderKind as Kept};
use model::Suspect;

use crate::{Interpretation, SUSPECTS_MAX, advice, rank};

/// Growth between two looks that is too little to speak of.
const GROWTH_BYTES_MIN: i64 = 1 << 20;
const CODE: &str = "heap-grows-beside";
const NOTE: &str = "not held by these goroutines: perhaps a leak of its own";

/// Who holds most of what grows, and more than twice as much of it as all goroutines that become more. What hangs on
/// several roots may be theirs.
pub(crate) fn holder(changes: &[Change]) -> Option<&Change> {
    let grown = || changes.iter().filter(|change| change.growth_bytes > 0);
    let sum = |bytes: i64, change: &Change| bytes.saturating_add(change.growth_bytes);
    let piles_up = |change: &Change| change.kind == Kept::Goroutine && change.growth_count > 0;
    let all = grown().fold(0, sum);
    let of_goroutines = grown().filter(|change| piles_up(change)).fold(0, sum);
    let others = grown().filter(|change| {
        !piles_up(change) && !matches!(change.kind, Kept::Several | Kept::Runtime)
    });
    let most = others.max_by_key(|change| change.growth_bytes)?;
    let is_most = most.growth_bytes >= all / 2 && most.growth_bytes / 2 > of_goroutines;
    (is_most && most.growth_bytes >= GROWTH_BYTES_MIN).then_some(most)
}

/// Says so: advice, and a suspect after those of the goroutines. What an earlier look said of it is forgotten.
pub(crate) fn tell(found: &mut Interpretation, holder: Option<Suspect>) {
    let told = |suspect: &Suspect| suspect.note.as_deref() == Some(NOTE);
    found.suspects.retain(|suspect| !told(suspect));
    found.advice.retain(|advice| advice.code != CODE);
    let Some(mut holder) = holder else {
        return;
    };
    let name = holder.held_by.clone().unwrap_or_default();
    found.advice.push(advice(
        CODE,
        &format!(
            "Most of what grows on the heap is not held by these goroutines, but by {name}: look at it, too. It is an \
             incident of its own once the goroutines no longer pile up."
        ),
    ));
    holder.note = Some(NOTE.into());
    found.suspects.truncate(SUSPECTS_MAX - 1);
    found.suspects.push(holder);
    rank(&mut found.suspects);
}
