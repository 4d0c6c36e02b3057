//! What the watcher uses itself in `/metrics`: of the main process under the names that every exporter has,
//! of all its processes under ours, and how that compares with the budget.

use model::Labels;
use model::fleet::Health;
use wire::FamilyType;

use crate::metrics::{Family, Meet};

pub(crate) fn families(health: &Health) -> Vec<Family> {
    let own = &health.own;
    let single = Family::single;
    let gauge = FamilyType::Gauge;
    let mut all = Vec::new();
    if let Some(main) = own.processes.iter().find(|one| one.role == "main") {
        let memory = main.memory_bytes as f64;
        all.extend([
            single(
                "process_cpu_seconds_total",
                FamilyType::Counter,
                "CPU time of the main process, in seconds.",
                main.cpu_seconds,
            ),
            single(
                "process_resident_memory_bytes",
                gauge,
                "Resident memory of the main process.",
                memory,
            ),
        ]);
    }
    all.extend(by_process(health));
    all.extend(against_budget(health));
    all
}

fn by_process(health: &Health) -> Vec<Family> {
    let mut cpu = Family::counter(
        "unswept_self_cpu_seconds_total",
        Meet::Sum,
        "CPU time of our processes; children are those of the reader that have ended.",
    );
    let mut memory = Family::gauge(
        "unswept_self_memory_bytes",
        Meet::Sum,
        "Memory of our processes: what is resident of the main one, what the others have of their own.",
    );
    for one in &health.own.processes {
        let role = [("process", one.role.as_str())];
        cpu.put(&Labels::default(), &role, one.cpu_seconds);
        if one.role != "children" {
            memory.put(&Labels::default(), &role, one.memory_bytes as f64);
        }
    }
    vec![cpu, memory]
}

fn against_budget(health: &Health) -> Vec<Family> {
    let own = &health.own;
    let mut budget = vec![
        Family::single(
            "unswept_budget_cpu_cores",
            FamilyType::Gauge,
            "Cores that watching may take on average.",
            own.cpu_budget_cores,
        ),
        Family::single(
            "unswept_budget_memory_bytes",
            FamilyType::Gauge,
            "Memory that watching may take.",
            own.memory_budget_bytes as f64,
        ),
        Family::single(
            "unswept_budget_memory_used_bytes",
            FamilyType::Gauge,
            "Memory that watching takes.",
            own.memory_bytes as f64,
        ),
    ];
    budget.extend(own.cpu_cores.map(|cores| {
        Family::single(
            "unswept_budget_cpu_used_cores",
            FamilyType::Gauge,
            "Cores that watching has taken on average over the window.",
            cores,
        )
    }));
    let mut now = Family::gauge(
        "unswept_budget_shed",
        Meet::Max,
        "1 while this is left for later to stay within the budget.",
    );
    let mut times = Family::counter(
        "unswept_budget_shed_total",
        Meet::Sum,
        "How often this began to be left for later.",
    );
    for shed in &own.shed {
        let what = [("what", shed.what.as_str())];
        now.put(&Labels::default(), &what, f64::from(u8::from(shed.now)));
        times.put(&Labels::default(), &what, shed.times as f64);
    }
    budget.extend([now, times]);
    budget
}
