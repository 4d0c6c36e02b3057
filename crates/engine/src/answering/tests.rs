use model::{Judgement, Revision};

use super::*;
use crate::book::tests::{MINUTE, verdict};

fn min(at: i64) -> UnixMs {
    UnixMs(at * MINUTE)
}

fn said(answer: Answer, at_min: i64) -> Said {
    Said {
        answer,
        at: min(at_min),
        by: "alice".into(),
        note: String::new(),
    }
}

fn muted(until_min: Option<i64>, revision: Option<&str>) -> Answer {
    Answer::Muted {
        until: until_min.map(min),
        revision: revision.map(|of| Revision(of.into())),
    }
}

fn expected(ceiling_bytes: u64) -> Answer {
    Answer::Expected {
        ceiling_bytes,
        exceeded: None,
    }
}

/// A book with one open incident; its revision is `abc`.
fn book(culprit: &str) -> (Book, IncidentId) {
    let mut book = Book::default();
    let mut leak = verdict("a", 10, 0, Judgement::Leak);
    leak.target.revision = Revision("abc".into());
    let id = book.open(&leak, Kind::GoHeap, culprit).id.clone();
    (book, id)
}

fn because(book: &Book, id: &IncidentId) -> Option<SilenceReason> {
    book.get(id).unwrap().silence.map(|silence| silence.because)
}

#[test]
fn answers_silence_an_incident_or_do_not_and_can_be_taken_back() {
    use AnswerSort::{Acknowledgement, Mark, Mute};
    let rows = [
        (Answer::Acknowledged, Acknowledgement, None),
        (muted(Some(60), None), Mute, Some(SilenceReason::Muted)),
        (muted(None, Some("abc")), Mute, Some(SilenceReason::Muted)),
        (expected(1), Mark, Some(SilenceReason::Expected)),
        (Answer::FalseAlarm, Mark, Some(SilenceReason::FalseAlarm)),
        (Answer::Leak, Mark, None),
    ];
    for (answer, sort, silence) in rows {
        let (mut book, id) = book("main.f");
        book.answer(&id, said(answer.clone(), 11)).unwrap();
        assert_eq!(because(&book, &id), silence, "{answer:?}");
        assert_eq!(book.get(&id).unwrap().state, IncidentState::Open);
        book.take_back(&id, sort, "bob", min(12)).unwrap();
        assert_eq!(because(&book, &id), None, "{answer:?}");
        let told = &book.get(&id).unwrap().timeline.last().unwrap().text;
        assert!(told.starts_with("bob took back: alice "), "{told}");
        let again = book.take_back(&id, sort, "bob", min(12));
        assert_eq!(again, Err(AnswerError::NotSaid));
    }
}

#[test]
fn one_answer_of_a_sort() {
    let (mut book, id) = book("main.f");
    for answer in [
        Answer::FalseAlarm,
        Answer::Leak,
        Answer::Acknowledged,
        expected(9),
    ] {
        book.answer(&id, said(answer, 11)).unwrap();
    }
    let answers = &book.get(&id).unwrap().answers;
    let answers: Vec<&Answer> = answers.iter().map(|said| &said.answer).collect();
    assert_eq!(answers, [&Answer::Acknowledged, &expected(9)]);
}

#[test]
fn a_mute_ends_with_its_time_or_with_another_revision_that_leaks() {
    let (mut book, id) = book("main.f");
    book.answer(&id, said(muted(Some(60), None), 11)).unwrap();
    assert!(!book.settle(&id, min(59), None));
    assert!(book.settle(&id, min(60), None));
    assert_eq!(because(&book, &id), None);
    assert_eq!(
        book.get(&id).unwrap().timeline.last().unwrap().code,
        "mute-ended"
    );
    book.answer(&id, said(muted(None, Some("abc")), 61))
        .unwrap();
    let mut newer = verdict("b", 70, 65, Judgement::Leak);
    newer.target.revision = Revision("abc".into());
    book.support(&id, &newer);
    assert!(
        !book.settle(&id, min(70), None),
        "a restart of the same code"
    );
    newer.target.revision = Revision("def".into());
    book.support(&id, &newer);
    assert!(book.settle(&id, min(71), None));
    assert_eq!(because(&book, &id), None);
    assert_eq!(book.answered().count(), 0);
}

#[test]
fn above_its_ceiling_what_is_expected_is_told_once_and_for_all() {
    let (mut book, id) = book("main.f");
    book.answer(&id, said(expected(1 << 30), 11)).unwrap();
    assert!(!book.settle(&id, min(12), Some(1 << 30)));
    assert!(!book.settle(&id, min(12), None), "nothing that runs");
    assert!(book.settle(&id, min(13), Some((1 << 30) + 1)));
    assert_eq!(because(&book, &id), None);
    assert!(!book.settle(&id, min(14), Some(5)), "and down again");
    let told = &book.get(&id).unwrap().timeline.last().unwrap().text;
    assert_eq!(
        *told,
        "a target has 1.0 GiB, more than the 1.0 GiB that alice expected"
    );
    book.answer(&id, said(expected(2 << 30), 15)).unwrap();
    assert_eq!(because(&book, &id), Some(SilenceReason::Expected));
}

#[test]
fn answers_hold_for_their_workload_kind_and_culprit_only() {
    let later = |culprit: &str, kind: Kind, revision: &str| {
        let (mut book, id) = book("main.f");
        for answer in [
            Answer::Acknowledged,
            Answer::FalseAlarm,
            muted(None, Some("abc")),
        ] {
            book.answer(&id, said(answer, 11)).unwrap();
        }
        book.get_mut(&id).unwrap().state = IncidentState::Resolved;
        let mut leak = verdict("b", 100, 90, Judgement::Leak);
        leak.target.revision = Revision(revision.into());
        let next = book.open(&leak, kind, culprit).clone();
        let sorts = next.answers.iter().map(|said| said.answer.sort());
        (sorts.collect::<Vec<_>>(), next.silence.is_some())
    };
    use AnswerSort::{Mark, Mute};
    for (name, culprit, kind, revision, sorts) in [
        (
            "the same again",
            "main.f",
            Kind::GoHeap,
            "abc",
            vec![Mark, Mute],
        ),
        (
            "of a new revision",
            "main.f",
            Kind::GoHeap,
            "def",
            vec![Mark],
        ),
        ("another culprit", "main.g", Kind::GoHeap, "abc", vec![]),
        ("not known yet", "", Kind::GoHeap, "abc", vec![]),
        ("another kind", "main.f", Kind::Goroutine, "abc", vec![]),
    ] {
        let silent = !sorts.is_empty();
        assert_eq!(later(culprit, kind, revision), (sorts, silent), "{name}");
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let by = |by: &str| Said {
        by: by.into(),
        ..said(Answer::Acknowledged, 11)
    };
    let noted = |note: String| Said {
        note,
        ..said(Answer::Acknowledged, 11)
    };
    let year = 366 * 24 * 60;
    let rows = [
        ("no end", said(muted(None, None), 11), AnswerError::NoEnd),
        (
            "in the past",
            said(muted(Some(11), None), 11),
            AnswerError::NoEnd,
        ),
        (
            "in two years",
            said(muted(Some(2 * year), None), 11),
            AnswerError::NoEnd,
        ),
        (
            "a revision that is not known",
            said(muted(None, Some("")), 11),
            AnswerError::NoEnd,
        ),
        ("no ceiling", said(expected(0), 11), AnswerError::NoCeiling),
        ("nobody", by(" "), AnswerError::BadName),
        ("a name of two lines", by("a\nb"), AnswerError::BadName),
        ("a long name", by(&"x".repeat(65)), AnswerError::BadName),
        (
            "a long note",
            noted("x".repeat(1_001)),
            AnswerError::BadNote,
        ),
        (
            "a note for a terminal",
            noted("\u{1b}[2J".into()),
            AnswerError::BadNote,
        ),
    ];
    for (name, said, error) in rows {
        let (mut book, id) = book("main.f");
        let before = book.get(&id).unwrap().clone();
        assert_eq!(book.answer(&id, said), Err(error), "{name}");
        assert_eq!(*book.get(&id).unwrap(), before, "{name}");
    }
    let (mut book, id) = book("main.f");
    let nothing = IncidentId("x".into());
    let unknown = book.answer(&nothing, said(Answer::Leak, 11));
    assert_eq!(unknown, Err(AnswerError::Unknown(nothing)));
    book.get_mut(&id).unwrap().state = IncidentState::Resolved;
    let over = book.answer(&id, said(Answer::Acknowledged, 11));
    assert_eq!(over, Err(AnswerError::Over(id.clone())));
    book.answer(&id, said(Answer::FalseAlarm, 12)).unwrap();
}
