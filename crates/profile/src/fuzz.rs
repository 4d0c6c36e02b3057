//! For fuzz targets: everything this crate does with bytes nobody vouches for, in one call.

use crate::*;

/// Limits that let many rounds run side by side.
pub fn limits() -> Limits {
    let mut limits = Limits::default().with_decompressed_bytes_max(4 << 20);
    limits.frames_max = 1_000_000;
    limits
}

/// Parses `bytes` and, if they are a profile, walks every report over it.
///
/// # Panics
/// If this crate breaks its promises: a panic inside, a profile that does not read back equal, a
/// profile that grew against itself.
pub fn fuzz_one(bytes: &[u8]) {
    let Ok(profile) = Profile::parse(bytes, &limits()) else {
        return;
    };
    let again = Profile::parse(&profile.to_proto(), &Limits::default());
    assert_eq!(again.ok().as_ref(), Some(&profile), "written and read back");
    for index in 0..profile.sample_types().len().min(4) {
        let top = top(&profile, index, &TopOptions::default());
        assert!(top.render().contains("flat%"), "a report");
    }
    if profile.sample_types().len() == 0 {
        return;
    }
    let same = diff(&profile, &profile, "").expect("the same sample types");
    assert!(same.growths().all(|of| of.growth() == 0), "nothing grew");
    same.by_frame(Some("example.com/shop"));
    let small = FlameLimits {
        nodes_max: 100,
        depth_max: 20,
    };
    assert!(flame_diff(&same, &small).nodes <= 100, "a bounded tree");
    for group in groups(&profile, "").expect("a default sample type").iter() {
        group.wait_reason();
        frame_to_look_at(&group.stack, None);
    }
    profile.samples().for_each(|sample| {
        sample.labels().count();
        sample.addresses().count();
    });
}
