//! The effective limit of a target: what it runs into first, and what counts against that.

use model::{ContainerMemory, EffectiveLimit};

use crate::config::Limits;

/// The machine that targets run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Machine {
    /// Its memory; 0 where that is not known.
    pub memory_bytes: u64,
    /// With less than this available, kubelet evicts pods.
    pub eviction_bytes: u64,
    /// Who says so.
    pub eviction_source: EvictionSource,
}

/// Who says where kubelet evicts pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EvictionSource {
    /// Nobody: it is what kubelet does unless it is told otherwise.
    #[default]
    Default,
    /// kubelet's own configuration on this node.
    Kubelet,
    /// Our configuration.
    Configured,
}

impl EvictionSource {
    fn in_words(self) -> &'static str {
        match self {
            Self::Default => "where kubelet evicts pods, by its default",
            Self::Kubelet => "where kubelet evicts pods, by its configuration",
            Self::Configured => "where kubelet evicts pods, by limits.eviction_available",
        }
    }
}

impl Machine {
    /// The machine `host`, with what our configuration says of its kubelet: that goes before what kubelet's own
    /// says, which a flag may have overruled.
    #[must_use]
    pub fn of(host: &reader::Host, limits: &Limits) -> Self {
        let configured = limits.eviction_available;
        let configured = configured.map(|bytes| (bytes, EvictionSource::Configured));
        let read = host
            .kubelet
            .map(|kubelet| (kubelet.available_bytes, EvictionSource::Kubelet));
        let (eviction_bytes, eviction_source) = configured
            .or(read)
            .unwrap_or((reader::EVICTION_DEFAULT_BYTES, EvictionSource::Default));
        Self {
            memory_bytes: host.memory_total_bytes,
            eviction_bytes,
            eviction_source,
        }
    }
}

/// What is known of one target.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known<'a> {
    /// It is a process of this machine.
    pub(crate) is_here: bool,
    /// It is in a pod, so kubelet may evict it.
    pub(crate) in_pod: bool,
    /// Its RSS.
    pub(crate) rss_bytes: Option<u64>,
    /// Its container.
    pub(crate) container: Option<&'a ContainerMemory>,
    /// What the machine has available now.
    pub(crate) available_bytes: Option<u64>,
}

/// The container's limit or an ancestor's, less what others there cannot give back; else, in a pod,
/// where kubelet evicts; else the machine's memory. A limit above the machine's memory never binds.
pub(crate) fn effective(known: &Known<'_>, machine: Machine) -> EffectiveLimit {
    let memory = Some(machine.memory_bytes).filter(|&bytes| known.is_here && bytes > 0);
    let binds = |limit: &u64| memory.is_none_or(|memory| *limit <= memory);
    if let Some(container) = known.container
        && let Some(limit) = container.limit_bytes.filter(binds)
    {
        return EffectiveLimit {
            bytes: Some(limit),
            source: container.limit_source.clone(),
            used_bytes: Some(container.held_bytes()),
        };
    }
    let Some(memory) = memory else {
        return EffectiveLimit {
            used_bytes: known.rss_bytes,
            ..EffectiveLimit::default()
        };
    };
    let in_use = known
        .available_bytes
        .map(|available| memory.saturating_sub(available));
    let (bytes, source) = match known.in_pod && machine.eviction_bytes > 0 {
        true => (
            memory.saturating_sub(machine.eviction_bytes),
            machine.eviction_source.in_words(),
        ),
        false => (memory, "the machine's memory"),
    };
    EffectiveLimit {
        bytes: Some(bytes),
        source: Some(source.to_owned()),
        used_bytes: in_use.or(known.rss_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_it_last_says_where_kubelet_evicts() {
        let host = |kubelet| reader::Host {
            boot_id: model::BootId(String::new()),
            hostname: String::new(),
            clock_ticks_per_s: 100,
            boot_time: model::UnixMs(0),
            memory_total_bytes: 1000,
            memory_available_bytes: 0,
            kernel: String::new(),
            cgroup_version: reader::CgroupVersion::V1,
            kubelet,
        };
        let read = Some(reader::KubeletEviction { available_bytes: 7 });
        let own = Limits {
            eviction_available: Some(3),
        };
        let rows = [
            (None, Limits::default(), 100 << 20, EvictionSource::Default),
            (read, Limits::default(), 7, EvictionSource::Kubelet),
            (read, own, 3, EvictionSource::Configured),
        ];
        for (kubelet, limits, bytes, source) in rows {
            let machine = Machine::of(&host(kubelet), &limits);
            assert_eq!(
                (machine.eviction_bytes, machine.eviction_source),
                (bytes, source)
            );
        }
    }

    #[test]
    fn what_binds_first_is_the_limit() {
        let machine = Machine {
            memory_bytes: 1000,
            eviction_bytes: 100,
            eviction_source: EvictionSource::Kubelet,
        };
        let of = |limit_bytes: Option<u64>| ContainerMemory {
            usage_bytes: 90,
            anon_bytes: Some(40),
            shmem_bytes: Some(5),
            limit_bytes,
            limit_source: limit_bytes.map(|_| "memory.max /pod".to_owned()),
            ..ContainerMemory::default()
        };
        let (limited, free, beyond) = (of(Some(200)), of(None), of(Some(5000)));
        let here = Known {
            is_here: true,
            rss_bytes: Some(7),
            available_bytes: Some(300),
            ..Known::default()
        };
        let pod = Known {
            in_pod: true,
            ..here
        };
        let with = |known: Known<'static>, container| (known, Some(container));
        let rows = [
            (
                "a container's",
                with(here, &limited),
                Some(200),
                "memory.max /pod",
                Some(45),
            ),
            (
                "a container's elsewhere",
                with(Known::default(), &limited),
                Some(200),
                "memory.max /pod",
                Some(45),
            ),
            (
                "none of its own",
                with(here, &free),
                Some(1000),
                "the machine's memory",
                Some(700),
            ),
            (
                "more than the machine has",
                with(here, &beyond),
                Some(1000),
                "the machine's memory",
                Some(700),
            ),
            (
                "a pod without",
                with(pod, &free),
                Some(900),
                "where kubelet evicts pods, by its configuration",
                Some(700),
            ),
            (
                "no container",
                (here, None),
                Some(1000),
                "the machine's memory",
                Some(700),
            ),
            (
                "elsewhere",
                (
                    Known {
                        is_here: false,
                        ..here
                    },
                    None,
                ),
                None,
                "",
                Some(7),
            ),
        ];
        for (why, (known, container), bytes, source, used_bytes) in rows {
            let got = effective(&Known { container, ..known }, machine);
            assert_eq!((got.bytes, got.used_bytes), (bytes, used_bytes), "{why}");
            assert_eq!(got.source.as_deref().unwrap_or(""), source, "{why}");
        }
        let unknown = Known {
            available_bytes: None,
            ..here
        };
        assert_eq!(effective(&unknown, machine).used_bytes, Some(7));
    }
}
