//! A [`Profile`] to profile.proto bytes, which `go tool pprof` reads.

use crate::Profile;
use crate::data::{NO_MAPPING, ValueType};
use crate::wire::{put_bytes, put_u64, put_varint};
use std::io::Write;

impl Profile {
    /// The profile as plain profile.proto. [`Profile::parse`] of it gives an equal profile.
    pub fn to_proto(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.stack_locations.len() * 2 + self.values.len() * 4);
        let mut part = Vec::new();
        for &of in &self.sample_types {
            put_value_type(&mut out, 1, of);
        }
        self.put_samples(&mut out);
        self.put_mappings(&mut out, &mut part);
        self.put_locations(&mut out, &mut part);
        for function in &self.functions {
            part.clear();
            put_u64(&mut part, 1, function.id);
            put_u64(&mut part, 2, function.name.into());
            put_u64(&mut part, 3, function.system_name.into());
            put_u64(&mut part, 4, function.filename.into());
            put_u64(&mut part, 5, function.start_line as u64);
            put_bytes(&mut out, 5, &part);
        }
        for id in 0..self.strings.len() {
            put_bytes(&mut out, 6, self.strings.get(id as u32).as_bytes());
        }
        put_u64(&mut out, 7, self.drop_frames.into());
        put_u64(&mut out, 8, self.keep_frames.into());
        put_u64(&mut out, 9, self.time_nanos as u64);
        put_u64(&mut out, 10, self.duration_nanos as u64);
        if let Some(of) = self.period_type {
            put_value_type(&mut out, 11, of);
        }
        put_u64(&mut out, 12, self.period as u64);
        for &comment in &self.comments {
            put_varint(&mut out, 13 << 3);
            put_varint(&mut out, comment.into());
        }
        put_u64(&mut out, 14, self.default_sample_type.into());
        put_u64(&mut out, 15, self.doc_url.into());
        out
    }

    /// The profile as profile.proto under gzip, as Go programs send it.
    pub fn to_gzip(&self) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let done = gz.write_all(&self.to_proto()).and_then(|()| gz.finish());
        done.expect("writing to memory does not fail")
    }

    fn put_samples(&self, out: &mut Vec<u8>) {
        let (mut sample, mut part) = (Vec::new(), Vec::new());
        let mut labels_start = 0;
        for index in 0..self.samples_len() {
            sample.clear();
            part.clear();
            for &location in self.stack_locations(index) {
                put_varint(&mut part, self.locations[location as usize].id);
            }
            put_bytes(&mut sample, 1, &part);
            part.clear();
            for sample_type in 0..self.sample_types.len() {
                put_varint(&mut part, self.value(index, sample_type) as u64);
            }
            put_bytes(&mut sample, 2, &part);
            let labels_end = self.label_ends[index] as usize;
            for label in &self.labels[labels_start..labels_end] {
                part.clear();
                put_u64(&mut part, 1, label.key.into());
                put_u64(&mut part, 2, label.str.into());
                put_u64(&mut part, 3, label.num as u64);
                put_u64(&mut part, 4, label.num_unit.into());
                put_bytes(&mut sample, 3, &part);
            }
            labels_start = labels_end;
            put_bytes(out, 2, &sample);
        }
    }

    fn put_mappings(&self, out: &mut Vec<u8>, part: &mut Vec<u8>) {
        for mapping in &self.mappings {
            part.clear();
            put_u64(part, 1, mapping.id);
            put_u64(part, 2, mapping.memory_start);
            put_u64(part, 3, mapping.memory_limit);
            put_u64(part, 4, mapping.file_offset);
            put_u64(part, 5, mapping.filename.into());
            put_u64(part, 6, mapping.build_id.into());
            for (number, has) in (7..).zip(mapping.has) {
                put_u64(part, number, has.into());
            }
            put_bytes(out, 3, part);
        }
    }

    fn put_locations(&self, out: &mut Vec<u8>, part: &mut Vec<u8>) {
        let mut line_part = Vec::new();
        for (index, location) in self.locations.iter().enumerate() {
            part.clear();
            put_u64(part, 1, location.id);
            if location.mapping != NO_MAPPING {
                put_u64(part, 2, self.mappings[location.mapping as usize].id);
            }
            put_u64(part, 3, location.address);
            for line in self.location_lines(index) {
                line_part.clear();
                put_u64(&mut line_part, 1, self.functions[line.function as usize].id);
                put_u64(&mut line_part, 2, line.line as u64);
                put_u64(&mut line_part, 3, line.column as u64);
                put_bytes(part, 4, &line_part);
            }
            put_u64(part, 5, location.is_folded.into());
            put_bytes(out, 4, part);
        }
    }
}

fn put_value_type(out: &mut Vec<u8>, number: u64, of: ValueType) {
    let mut part = Vec::new();
    put_u64(&mut part, 1, of.name.into());
    put_u64(&mut part, 2, of.unit.into());
    put_bytes(out, number, &part);
}

#[cfg(test)]
mod tests {
    use crate::{Label, Limits, Mapping, Profile, ProfileBuilder};
    use proptest::prelude::*;

    /// Any profile: numbers of every width, texts that repeat, empty stacks, bare locations.
    fn profiles() -> impl Strategy<Value = Profile> {
        let text = prop_oneof![Just(String::new()), "[a-z/.]{1,12}", "\\PC{0,8}"];
        let functions = prop::collection::vec((text.clone(), text.clone(), any::<i64>()), 1..6);
        let lines = prop::collection::vec((any::<prop::sample::Index>(), any::<i64>()), 0..4);
        let locations = prop::collection::vec((any::<u64>(), lines, any::<bool>()), 1..8);
        let label = (text.clone(), text, any::<i64>());
        let stack = prop::collection::vec(any::<prop::sample::Index>(), 0..9);
        let values = (any::<i64>(), any::<i64>());
        let labels = prop::collection::vec(label, 0..3);
        let samples = prop::collection::vec((stack, values, labels), 0..9);
        (functions, locations, samples, any::<[i64; 3]>()).prop_map(
            |(functions, locations, samples, [time, duration, period])| {
                let mut made =
                    ProfileBuilder::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")]);
                made.time(time, duration)
                    .period("space", "bytes", period)
                    .comment("by hand");
                let mapping = made.mapping(Mapping {
                    file: "/bin/shop",
                    build_id: "abc",
                    memory_start: 0x40_0000,
                    memory_limit: u64::MAX,
                    file_offset: 0,
                });
                let functions: Vec<_> = functions
                    .iter()
                    .map(|(name, file, line)| made.function(name, file, *line))
                    .collect();
                let locations: Vec<_> = locations
                    .into_iter()
                    .map(|(address, lines, mapped)| {
                        let lines: Vec<_> = lines
                            .into_iter()
                            .map(|(index, line)| (*index.get(&functions), line))
                            .collect();
                        let location = made.location(address, &lines);
                        if mapped {
                            made.in_mapping(location, mapping);
                        }
                        location
                    })
                    .collect();
                for (stack, (objects, space), labels) in samples {
                    let stack: Vec<_> = stack.iter().map(|index| *index.get(&locations)).collect();
                    let labels: Vec<_> = labels
                        .iter()
                        .map(|(key, str, num)| Label {
                            key,
                            str,
                            num: *num,
                            num_unit: "",
                        })
                        .collect();
                    made.labelled_sample(&stack, &[objects, space], &labels);
                }
                made.build().unwrap()
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_equal(profile in profiles()) {
            let limits = Limits::default();
            prop_assert_eq!(&Profile::parse(&profile.to_proto(), &limits).unwrap(), &profile);
            prop_assert_eq!(&Profile::parse(&profile.to_gzip(), &limits).unwrap(), &profile);
            // Two gzip members are one stream.
            let proto = profile.to_proto();
            let (head, tail) = proto.split_at(proto.len() / 2);
            let both = [gz(head), gz(tail)].concat();
            prop_assert_eq!(&Profile::parse(&both, &limits).unwrap(), &profile);
        }

        #[test]
        fn any_bytes_and_any_cut_are_handled(profile in profiles(), cut in any::<prop::sample::Index>()) {
            let bytes = profile.to_proto();
            crate::fuzz::fuzz_one(&bytes[..cut.index(bytes.len())]);
            crate::fuzz::fuzz_one(&bytes);
        }
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }
}
