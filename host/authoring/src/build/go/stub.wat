;; Stands in for WASI under Go's runtime, so that a plugin in Go imports nothing but the contract: a clock of its own, random
;; numbers from a fixed seed, no files, no network, no environment, no way out.
;;
;; What always holds:
;; - No function here calls out of the component. Go's collector runs while the host lowers arguments (in `cabi_realloc`), when
;;   leaving the component traps; the usual adapter, which asks WASI for the time then, cannot be used for that reason.
;; - Monotonic time never goes back, and each look at it takes a microsecond, so that loops that wait for it end.
;; - A sleep moves the clock and takes no time. The SDK asks how long was slept, and waits that long by the contract's clock
;;   before the next call that anybody could see (`settle` in sdk/go/internal/host).
;;
;; `stub.rs` puts numbers in the place of MEMORY_BYTES (the plugin's memory limit, for Go's collector to keep to), of MONOTONIC_NS
;; and of RANDOM. Go's start runs when the plugin is built, beside this module; the component gets it with the clock and the random
;; numbers as they stood then, so that both go on.
(module $stub
  (import "env" "memory" (memory 0))
  (global $monotonic_ns (export "monotonic_ns") (mut i64) (i64.const MONOTONIC_NS))
  ;; Unix time less monotonic time: 2026-01-01 until the SDK sets the clock.
  (global $offset_ns (mut i64) (i64.const 1767225599000000000))
  (global $slept_ns (mut i64) (i64.const 0))
  (global $random (export "random") (mut i64) (i64.const RANDOM))

  ;; For the SDK.
  (func (export "salve_clock_set") (param $unix_ns i64)
    (global.set $offset_ns (i64.sub (local.get $unix_ns) (global.get $monotonic_ns))))
  (func (export "salve_slept_take") (result i64)
    (global.get $slept_ns)
    (global.set $slept_ns (i64.const 0)))
  (func (export "salve_memory_bytes") (result i64) (i64.const MEMORY_BYTES))

  ;; For Go's runtime. 0 is success, 8 is "bad file descriptor".
  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $out i32) (result i32)
    (global.set $monotonic_ns (i64.add (global.get $monotonic_ns) (i64.const 1000)))
    (i64.store (local.get $out)
      (if (result i64) (local.get $clock)
        (then (global.get $monotonic_ns))
        (else (i64.add (global.get $monotonic_ns) (global.get $offset_ns)))))
    (i32.const 0))

  ;; Sleeps, and polls for events of which there are none. The first subscription is the clock's, relative, in nanoseconds.
  (func (export "poll_oneoff") (param $in i32) (param $events i32) (param $count i32) (param $out i32) (result i32)
    (local $timeout_ns i64)
    (if (i32.eqz (i32.load8_u offset=8 (local.get $in))) (then
      (local.set $timeout_ns (i64.load offset=24 (local.get $in)))
      ;; At most a century: Go asks for more where nothing will ever come.
      (if (i64.gt_u (local.get $timeout_ns) (i64.const 3155760000000000000))
        (then (local.set $timeout_ns (i64.const 3155760000000000000))))
      (global.set $monotonic_ns (i64.add (global.get $monotonic_ns) (local.get $timeout_ns)))
      (global.set $slept_ns (i64.add (global.get $slept_ns) (local.get $timeout_ns)))))
    (i64.store (local.get $events) (i64.load (local.get $in)))
    (i64.store offset=8 (local.get $events) (i64.const 0))
    (i32.store (local.get $out) (i32.const 1))
    (i32.const 0))

  ;; xorshift64 (G. Marsaglia, "Xorshift RNGs", 2003).
  (func (export "random_get") (param $to i32) (param $bytes i32) (result i32)
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $bytes)))
      (global.set $random (i64.xor (global.get $random) (i64.shl (global.get $random) (i64.const 13))))
      (global.set $random (i64.xor (global.get $random) (i64.shr_u (global.get $random) (i64.const 7))))
      (global.set $random (i64.xor (global.get $random) (i64.shl (global.get $random) (i64.const 17))))
      (i32.store8 (local.get $to) (i32.wrap_i64 (i64.shr_u (global.get $random) (i64.const 24))))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (local.set $bytes (i32.sub (local.get $bytes) (i32.const 1)))
      (br $next)))
    (i32.const 0))

  ;; Standard output and error: taken, and read by nobody. A panic reaches the host's log by the SDK.
  (func (export "fd_write") (param $fd i32) (param $parts i32) (param $count i32) (param $out i32) (result i32)
    (local $bytes i32)
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $count)))
      (local.set $bytes (i32.add (local.get $bytes) (i32.load offset=4 (local.get $parts))))
      (local.set $parts (i32.add (local.get $parts) (i32.const 8)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br $next)))
    (i32.store (local.get $out) (local.get $bytes))
    (i32.const 0))

  (func (export "proc_exit") (param $code i32) unreachable)
  (func (export "sched_yield") (result i32) (i32.const 0))

  ;; No arguments, no environment.
  (func $none (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (func (export "args_sizes_get") (param i32 i32) (result i32) (call $none (local.get 0) (local.get 1)))
  (func (export "environ_sizes_get") (param i32 i32) (result i32) (call $none (local.get 0) (local.get 1)))
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))

  ;; No files. Standard streams look like character devices.
  (func (export "fd_fdstat_get") (param $fd i32) (param $out i32) (result i32)
    (i64.store (local.get $out) (i64.const 2))
    (i64.store offset=8 (local.get $out) (i64.const 0))
    (i64.store offset=16 (local.get $out) (i64.const 0))
    (i32.const 0))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 0))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_close") (param i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_sync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8)))
