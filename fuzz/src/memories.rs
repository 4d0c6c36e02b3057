//! Running programs, as a look at them would find them: their memory is damaged while they are asked.

use anyhow::Context as _;
use inspect::fuzz::{Damage, Subject};

use crate::corpus::Made;
use crate::parsers::{Input, Parser};
use crate::random::Random;

/// Programs whose memory is damaged.
pub(crate) struct Memories {
    subjects: Vec<(String, Subject)>,
}

impl Memories {
    pub(crate) fn new(made: &[Made]) -> anyhow::Result<Self> {
        let open = |of: &Made| {
            let subject = Subject::new(of.whole()? as _, of.program()? as _);
            let subject = subject.with_context(|| format!("failed to look into {}", of.name))?;
            anyhow::Ok((of.name.clone(), subject))
        };
        let subjects: anyhow::Result<_> = made.iter().map(open).collect();
        Ok(Self {
            subjects: subjects?,
        })
    }
}

impl Parser for Memories {
    fn make(&self, random: &mut Random) -> Box<dyn Input + '_> {
        let (name, subject) = &self.subjects[random.place(self.subjects.len())];
        Box::new(Look {
            name,
            subject,
            damage: subject.damage(&mut |limit| random.below(limit)),
        })
    }
}

struct Look<'a> {
    name: &'a str,
    subject: &'a Subject,
    damage: Damage,
}

impl Input for Look<'_> {
    fn run(&self) -> u64 {
        self.subject.round(&self.damage)
    }

    fn recipe(&self) -> String {
        format!("program {}\n{}", self.name, self.damage)
    }

    fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        // The program stays in the corpus under its name.
        Vec::new()
    }
}
