//! The pointers on one goroutine's stack, by the compiler's own maps: what is live at each call, not what the source
//! suggests.
//!
//! For each frame the function's tables name a map of its locals and one of its arguments; variables whose address is
//! taken ("stack objects") are scanned when something live points at them, as the collector does. A frame that was
//! stopped between calls has no map: every word that looks like a pointer counts, as for the collector.

use std::collections::HashMap;

use super::FramePlace;
use crate::functions::FunctionId;
use crate::goroutines::{Code, PhysicalFrame, SeenStack, StackBytes, Standing};
use crate::limits;
use crate::memory::{Memory, le32, le64};

const ARGUMENTS: u32 = 0;
const LOCALS: u32 = 1;
const STACK_OBJECTS: u32 = 2;
/// `pcdata` table that tells which map holds.
const MAP_INDEX: u32 = 1;

/// Below a page there is nothing to point at.
const LOWEST: u64 = 4096;

/// The maps of one function.
#[derive(Debug, Default)]
struct Maps {
    arguments: Bitmaps,
    locals: Bitmaps,
    objects: Vec<StackObject>,
}

/// `runtime.stackmap`: some bitmaps of one length.
#[derive(Debug, Default)]
struct Bitmaps {
    count: usize,
    bits: usize,
    bytes: Vec<u8>,
}

/// A variable on the stack whose address is taken.
#[derive(Debug, Clone)]
struct StackObject {
    /// From the frame's locals' end when negative, else from its arguments.
    offset: i32,
    bytes: u64,
    /// One bit a word.
    mask: Vec<u8>,
}

/// Scans stacks; keeps the maps it has read, since goroutines wait in few functions.
pub(super) struct StackScanner<'a> {
    memory: &'a dyn Memory,
    code: &'a Code<'a>,
    /// For each module, where its read-only data begin: masks of stack objects count from there.
    rodata: Vec<u64>,
    /// What a call leaves on the stack before the callee's frame: 8 bytes where it pushes the return address.
    return_bytes: u64,
    async_preempt: Option<(usize, FunctionId)>,
    maps: HashMap<(usize, FunctionId), Maps>,
}

/// One object on this stack, placed.
struct Placed {
    start: u64,
    end: u64,
    frame: usize,
    at: usize,
    seen: bool,
}

/// A pointer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StackPointer {
    /// Where its frame stands.
    pub(super) pc: u64,
    /// As [`RootPointer::slot`](super::RootPointer::slot).
    pub(super) slot: FramePlace,
    /// It looks like a pointer and no map says that it is one.
    pub(super) is_guess: bool,
    /// What it points at.
    pub(super) value: u64,
}

impl StackPointer {
    /// One that the goroutine's record has, and no frame.
    pub(super) fn of_record(value: u64) -> Self {
        Self {
            pc: 0,
            slot: FramePlace::NONE,
            is_guess: false,
            value,
        }
    }
}

impl<'a> StackScanner<'a> {
    pub(super) fn new(
        memory: &'a dyn Memory,
        code: &'a Code<'a>,
        rodata: Vec<u64>,
        return_bytes: u64,
    ) -> Self {
        let async_preempt = (0..rodata.len()).find_map(|module| {
            let id = code.module(module).by_name("runtime.asyncPreempt")?;
            Some((module, id))
        });
        Self {
            memory,
            code,
            rodata,
            return_bytes,
            async_preempt,
            maps: HashMap::new(),
        }
    }

    /// Appends the live pointers of a stack with frames to `out`. The innermost frame of a goroutine that runs stands
    /// between calls, and has pointers in registers, too.
    pub(super) fn scan(&mut self, seen: &SeenStack<'_>, out: &mut Vec<StackPointer>) {
        let (frames, stack) = (seen.frames, seen.bytes);
        let first = out.len();
        let mut objects = Vec::new();
        let mut conservative = seen.standing == Standing::Between;
        for (number, frame) in frames.iter().enumerate() {
            let key = (frame.module, frame.function);
            let is_preempted = self.async_preempt == Some(key);
            self.load(key);
            let maps = &self.maps[&key];
            let (varp, argp) = (self.varp(frame), self.argp(frame));
            let scan = Scan::of(stack, frame);
            if conservative || is_preempted {
                let scan = scan.guessing(true);
                scan.all(frame.sp, varp, out);
                let arguments = self.code.module(frame.module).args(frame.function);
                let arguments = u64::try_from(arguments).unwrap_or(0).min(1 << 16);
                scan.all(argp, argp.saturating_add(arguments), out);
            } else {
                self.by_maps(frame, maps, varp, scan, out);
            }
            place(maps, number, (varp, argp), &mut objects);
            // The function that was interrupted lies under the one that interrupts.
            conservative = is_preempted;
        }
        if let Some(innermost) = frames.first() {
            in_registers(seen.general, innermost.pc, out);
        }
        // What is sure goes first: each variable is scanned once.
        out[first..].sort_by_key(|pointer| pointer.is_guess);
        self.follow(frames, stack, &mut objects, first, out);
    }

    /// Appends every word of a stack whose frames are not known for sure.
    pub(super) fn scan_all(&self, seen: &SeenStack<'_>, out: &mut Vec<StackPointer>) {
        let stack = seen.bytes;
        let mut at = stack.base;
        for frame in seen.frames {
            Scan::nowhere(stack).all(at, frame.sp, out);
            let scan = Scan::of(stack, frame).guessing(true);
            scan.all(frame.sp.max(at), frame.fp, out);
            at = frame.fp.max(at);
        }
        let end = stack.base.saturating_add(stack.bytes.len() as u64);
        Scan::nowhere(stack).all(at, end, out);
    }

    /// Where a frame's locals end.
    fn varp(&self, frame: &PhysicalFrame) -> u64 {
        let varp = frame.fp.saturating_sub(self.return_bytes);
        // A frame with anything in it begins with its caller's frame pointer.
        if varp > frame.sp { varp - 8 } else { varp }
    }

    /// Where a frame's arguments begin: where a call pushes nothing, behind the saved link register.
    fn argp(&self, frame: &PhysicalFrame) -> u64 {
        frame.fp.saturating_add(8 - self.return_bytes)
    }

    fn by_maps(
        &self,
        frame: &PhysicalFrame,
        maps: &Maps,
        varp: u64,
        scan: Scan<'_>,
        out: &mut Vec<StackPointer>,
    ) {
        let functions = self.code.module(frame.module);
        let index = match frame.pc == functions.entry(frame.function) {
            true => 0,
            false => functions
                .pcdata(frame.function, MAP_INDEX, frame.call_pc)
                .max(0),
        };
        let index = index as usize;
        if let Some(bits) = maps.locals.get(index) {
            let start = varp.saturating_sub(8 * maps.locals.bits as u64);
            scan.by_bits(start, bits, maps.locals.bits, out);
        }
        if functions.args(frame.function) != 0
            && let Some(bits) = maps.arguments.get(index)
        {
            scan.by_bits(self.argp(frame), bits, maps.arguments.bits, out);
        }
    }

    /// Scans each stack object that something found so far points at, and what that finds in turn.
    fn follow(
        &self,
        frames: &[PhysicalFrame],
        stack: StackBytes<'_>,
        objects: &mut [Placed],
        first: usize,
        out: &mut Vec<StackPointer>,
    ) {
        objects.sort_unstable_by_key(|object| object.start);
        let mut next = first;
        while next < out.len() {
            let StackPointer {
                value, is_guess, ..
            } = out[next];
            next += 1;
            let at = objects.partition_point(|object| object.start <= value);
            let Some(object) = at.checked_sub(1).map(|at| &mut objects[at]) else {
                continue;
            };
            if value >= object.end || object.seen {
                continue;
            }
            object.seen = true;
            let frame = &frames[object.frame];
            let known = &self.maps[&(frame.module, frame.function)].objects[object.at];
            let scan = Scan::of(stack, frame).guessing(is_guess);
            scan.by_bits(object.start, &known.mask, 8 * known.mask.len(), out);
        }
    }

    fn load(&mut self, key: (usize, FunctionId)) {
        if self.maps.contains_key(&key) {
            return;
        }
        let functions = self.code.module(key.0);
        let bitmaps = |index| {
            let addr = functions.funcdata(key.1, index)?;
            Bitmaps::read(self.memory, addr)
        };
        let objects = functions.funcdata(key.1, STACK_OBJECTS);
        let rodata = self.rodata.get(key.0).copied().unwrap_or(0);
        let maps = Maps {
            arguments: bitmaps(ARGUMENTS).unwrap_or_default(),
            locals: bitmaps(LOCALS).unwrap_or_default(),
            objects: objects.map_or_else(Vec::new, |addr| self.read_objects(addr, rodata)),
        };
        self.maps.insert(key, maps);
    }

    /// `runtime.stackObjectRecord`s: offset, size, bytes up to the last pointer, and where the mask lies.
    fn read_objects(&self, addr: u64, rodata: u64) -> Vec<StackObject> {
        let read = || {
            let count = self.memory.u64(addr).ok()?;
            let max = 16 * limits::STACK_OBJECTS_MAX;
            let records = self
                .memory
                .bytes("stack objects", addr + 8, count.checked_mul(16)?, max)
                .ok()?;
            let record = |record: &[u8]| {
                let pointer_bytes = le32(record, 8);
                // Negative: the mask is a program; such variables are too big for a stack since Go 1.13.
                if pointer_bytes == 0 || pointer_bytes > 1 << 24 {
                    return None;
                }
                let mask_at = rodata.wrapping_add(le32(record, 12).into());
                let len = u64::from(pointer_bytes / 8).div_ceil(8);
                let mut mask = self
                    .memory
                    .bytes("stack object", mask_at, len, 1 << 18)
                    .ok()?;
                let extra = pointer_bytes / 8 % 8;
                if let (Some(last), 1..) = (mask.last_mut(), extra) {
                    *last &= (1 << extra) - 1;
                }
                Some(StackObject {
                    offset: le32(record, 0) as i32,
                    bytes: le32(record, 4).into(),
                    mask,
                })
            };
            Some(records.chunks_exact(16).filter_map(record).collect())
        };
        read().unwrap_or_default()
    }
}

/// Every register that could be a pointer.
fn in_registers(general: &[u64], pc: u64, out: &mut Vec<StackPointer>) {
    let all = general.iter().enumerate();
    let pointers = all.filter(|&(_, &value)| value >= LOWEST);
    out.extend(pointers.map(|(number, &value)| StackPointer {
        pc,
        slot: FramePlace::of_register(number),
        is_guess: true,
        value,
    }));
}

/// Where this frame's stack objects lie.
fn place(maps: &Maps, number: usize, (varp, argp): (u64, u64), out: &mut Vec<Placed>) {
    for (at, object) in maps.objects.iter().enumerate() {
        let base = if object.offset < 0 { varp } else { argp };
        let start = base.wrapping_add_signed(object.offset.into());
        out.push(Placed {
            start,
            end: start.saturating_add(object.bytes.max(1)),
            frame: number,
            at,
            seen: false,
        });
    }
}

impl Bitmaps {
    fn read(memory: &dyn Memory, addr: u64) -> Option<Self> {
        let header = memory.bytes("stack map", addr, 8, 8).ok()?;
        let (count, bits) = (le32(&header, 0), le32(&header, 4));
        let len = u64::from(count) * u64::from(bits).div_ceil(8);
        let bytes = memory
            .bytes("stack map", addr + 8, len, limits::STACK_MAP_BYTES_MAX)
            .ok()?;
        Some(Self {
            count: count as usize,
            bits: bits as usize,
            bytes,
        })
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        let len = self.bits.div_ceil(8);
        (index < self.count && len > 0).then(|| &self.bytes[index * len..(index + 1) * len])
    }
}

/// Takes words of one stack for one frame.
#[derive(Clone, Copy)]
struct Scan<'a> {
    stack: StackBytes<'a>,
    pc: u64,
    fp: Option<u64>,
    is_guess: bool,
}

impl<'a> Scan<'a> {
    fn of(stack: StackBytes<'a>, frame: &PhysicalFrame) -> Self {
        Self {
            stack,
            pc: frame.pc,
            fp: Some(frame.fp),
            is_guess: false,
        }
    }

    fn guessing(self, is_guess: bool) -> Self {
        Self { is_guess, ..self }
    }

    fn nowhere(stack: StackBytes<'a>) -> Self {
        Self {
            stack,
            pc: 0,
            fp: None,
            is_guess: true,
        }
    }

    fn slot(&self, addr: u64) -> FramePlace {
        let slot = self.fp.map(|fp| addr.wrapping_sub(fp) as i64);
        slot.map_or(FramePlace::NONE, FramePlace::of_slot)
    }

    fn word(&self, addr: u64, out: &mut Vec<StackPointer>) {
        let at = addr.checked_sub(self.stack.base);
        let bytes = at.and_then(|at| self.stack.bytes.get(usize::try_from(at).ok()?..));
        if let Some(value) = bytes
            .filter(|rest| rest.len() >= 8)
            .map(|rest| le64(rest, 0))
            && value >= LOWEST
        {
            out.push(StackPointer {
                pc: self.pc,
                slot: self.slot(addr),
                is_guess: self.is_guess,
                value,
            });
        }
    }

    fn all(&self, start: u64, end: u64, out: &mut Vec<StackPointer>) {
        let (base, len) = (self.stack.base, self.stack.bytes.len() as u64);
        // A damaged frame may lie anywhere: only what is there is walked.
        let words = start.max(base) & !7..end.min(base.saturating_add(len));
        for addr in words.step_by(8) {
            self.word(addr, out);
        }
    }

    fn by_bits(&self, start: u64, bits: &[u8], count: usize, out: &mut Vec<StackPointer>) {
        for word in (0..count).filter(|word| bits[word / 8] >> (word % 8) & 1 == 1) {
            self.word(start.saturating_add(8 * word as u64), out);
        }
    }
}
