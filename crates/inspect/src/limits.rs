//! How much of a hostile executable is read or kept. Generous: real programs stay far below each of them.

/// Program headers in one file; real programs have about ten.
pub const SEGMENTS_MAX: u16 = 256;
/// Section headers in one file; linked programs have 20 to 60.
pub const SECTIONS_MAX: u64 = 4096;
/// Bytes of the section name table.
pub const SECTION_NAMES_BYTES_MAX: u64 = 256 << 10;
/// Bytes of one note segment or section.
pub const NOTE_BYTES_MAX: u64 = 4 << 10;
/// Bytes of writable segments searched for build information when the section headers don't give it.
pub const BUILDINFO_SCAN_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the version string.
pub const VERSION_BYTES_MAX: u64 = 1 << 10;
/// Bytes of the module text: the largest known programs have about 60 KiB.
pub const MODULE_TEXT_BYTES_MAX: u64 = 1 << 20;
/// Dependencies kept of one executable.
pub const DEPENDENCIES_MAX: usize = 4096;
/// Build settings kept of one executable.
pub const SETTINGS_MAX: usize = 256;
/// Bytes searched for the function table when no section is named after it.
pub const PCLNTAB_SCAN_BYTES_MAX: u64 = 128 << 20;
/// Bytes of function names searched.
pub const FUNCTION_NAMES_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a symbol table, and of its names.
pub const SYMBOL_TABLE_BYTES_MAX: u64 = 512 << 20;
/// Bytes of one of the runtime's structures.
pub const STRUCTURE_BYTES_MAX: u64 = 4 << 20;
/// Functions of one module; the largest known programs have about a million.
pub const FUNCTIONS_MAX: u64 = 1 << 25;
/// Bytes of one part of the table of functions.
pub const FUNCTION_TABLE_BYTES_MAX: u64 = 1 << 30;
/// Linked modules of one program: itself and its plugins.
pub const MODULES_MAX: usize = 1024;
/// Bytes of one name of a function or file; generic instances have names of some kilobytes.
pub const NAME_BYTES_MAX: usize = 64 << 10;
/// Pairs walked in one function's table; functions of megabytes of code have some hundred thousand.
pub const PC_TABLE_PAIRS_MAX: usize = 1 << 20;
/// Calls inlined into one another at one instruction; the compiler stays below some dozens.
pub const INLINE_DEPTH_MAX: usize = 200;
/// Processors (`GOMAXPROCS`) of one program.
pub const PROCESSORS_MAX: u64 = 1 << 16;
/// Spans of one heap: 2 TiB of the smallest ones.
pub const SPANS_MAX: u64 = 1 << 28;
/// Types that heap objects name beside them.
pub const HEAP_TYPES_MAX: usize = 1 << 20;
/// Bytes of all their pointer masks together.
pub const TYPE_MASKS_BYTES_MAX: u64 = 256 << 20;
/// Arenas of one heap: all that 47 bits of address space hold.
pub const ARENAS_MAX: u64 = 1 << 21;
/// Bytes of one heap's spans: the map of its pages takes a 2048th of them.
pub const HEAP_BYTES_MAX: u64 = 1 << 40;
/// Records about single objects (finalizers, samples and others) that are followed.
pub const SPECIALS_MAX: usize = 1 << 25;
/// Stack variables of one function whose address is taken.
pub const STACK_OBJECTS_MAX: u64 = 1 << 14;
/// Bytes of one function's stack maps.
pub const STACK_MAP_BYTES_MAX: u64 = 16 << 20;
/// Program counters whose tables' answers are kept while stacks are unwound; real programs have some thousands.
pub const PCS_KEPT_MAX: usize = 1 << 18;
/// Pairs walked in functions' tables for one dump of goroutines: some seconds; real dumps need a thousandth.
pub const PC_TABLE_PAIRS_WALKED_MAX: u64 = 1 << 31;
/// Goroutines read; each costs the runtime 2 KiB of stack at least, so this is 8 GiB.
pub const GOROUTINES_MAX: u64 = 1 << 22;
/// Frames of one stack; the runtime's own limit for stacks is reached at some millions.
pub const FRAMES_MAX: usize = 1 << 16;
/// Frames of all distinct stacks together.
pub const FRAMES_KEPT_MAX: usize = 1 << 22;
/// Bytes read of one goroutine's stack, from its innermost frame on.
pub const STACK_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one goroutine's stack as allocated; the runtime ends a program at 1,000,000,000.
pub const STACK_ALLOCATED_BYTES_MAX: u64 = 2 << 30;
/// Bytes of stacks read for one dump; goroutines beyond it have none.
pub const STACKS_READ_BYTES_MAX: u64 = 8 << 30;
/// Words tried as return addresses on stacks of running goroutines, for one dump.
pub const RETURN_ADDRESSES_TRIED_MAX: usize = 1 << 18;
/// Frames that one of them may have below it.
pub const GUESSED_FRAMES_MAX: usize = 1 << 10;
/// Bytes of stacks that are held at a time.
pub const STACKS_HELD_BYTES_MAX: u64 = 64 << 20;
/// Cases of one `select`, as the compiler allows.
pub const SELECT_CASES_MAX: usize = 1 << 16;
/// Things that goroutines wait for, of all goroutines together; a `select` has one for each case.
pub const WAITS_MAX: usize = 1 << 22;
/// Labels of one goroutine.
pub const LABELS_MAX: usize = 256;
/// Bytes of all distinct sets of labels together.
pub const LABELS_KEPT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a label's key or value, or of a wait reason.
pub const LABEL_BYTES_MAX: u64 = 4 << 10;
/// Reasons to wait that a runtime has; 47 in Go 1.27.
pub const WAIT_REASONS_MAX: usize = 128;
/// Open descriptors of one process whose kinds are looked up.
pub const DESCRIPTORS_MAX: usize = 1 << 18;
/// Timers of one program.
pub const TIMERS_MAX: u64 = 1 << 24;
/// Blocks of finalizers that wait to be run.
pub const FINALIZER_BLOCKS_MAX: usize = 1 << 16;
/// Bytes of one module's variables of one section.
pub const VARIABLES_BYTES_MAX: u64 = 1 << 30;
/// Segments of a core: one for each mapping and some more; the kernel allows 65,530 mappings unless told otherwise.
pub const CORE_SEGMENTS_MAX: u64 = 1 << 20;
/// Notes of a core: about eight for each thread.
pub const CORE_NOTES_MAX: usize = 1 << 20;
/// Bytes of one note that grows with the process: its mapped files.
pub const CORE_NOTE_BYTES_MAX: u64 = 64 << 20;
/// Threads of a core.
pub const CORE_THREADS_MAX: usize = 1 << 16;
/// Buckets of the memory profile: one for each allocating stack and size.
pub const BUCKETS_MAX: usize = 1 << 22;
/// Frames of one bucket; the runtime keeps at most so many.
pub const BUCKET_FRAMES_MAX: u64 = 1 << 10;
/// Frames of all buckets together.
pub const BUCKETS_FRAMES_MAX: usize = 1 << 25;
/// Bytes of `/proc/PID/maps`, which the kernel limits by the number of mappings (65,530).
pub const MAPS_BYTES_MAX: u64 = 64 << 20;
/// Files whose build id is looked up for one profile.
pub const MAPPED_FILES_MAX: usize = 256;
