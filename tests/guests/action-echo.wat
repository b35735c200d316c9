;; Well-behaved: plans one `config.set` with an expectation, makes that call, and takes it back.
(module
  (import "salve:plugin/config@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "salve:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 2)
  ;; Memory from a counter that only rises.
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $len)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.div_u (local.get $len) (i32.const 65536)) (i32.const 1))))))
    (local.get $at))
  ;; Texts.
  (data (i32.const 2048) "set pool.size")
  (data (i32.const 2064) "config")
  (data (i32.const 2080) "set")
  (data (i32.const 2096) "shop")
  (data (i32.const 2112) "pool.size")
  (data (i32.const 2128) "16")
  (data (i32.const 2136) "8")
  (data (i32.const 2144) "{\22key\22:\22pool.size\22,\22value\22:\2216\22}")
  (data (i32.const 2192) "{\22key\22:\22pool.size\22,\22value\22:\228\22}")
  (data (i32.const 2240) "error_ratio")
  ;; result<proposal>: summary at 4, steps at 12, expect at 20, extra at 28; each pointer and length.
  (data (i32.const 1024) (i32 0  2048 13  1200 1  1400 1  0 0))
  ;; step: capability, verb, target, arguments; before, after, inverse as flag, pointer, length.
  (data (i32.const 1200) (i32 2064 6  2080 3  2096 4  2144 32  0 0 0  1 2128 2  1 2192 31))
  ;; expectation: service, signal; lower none; upper some 0.01 at 40; within 48, hold 56, samples 64.
  (data (i32.const 1400) (i32 2096 4  2240 11  0 0 0 0  1 0) (f64 0.01) (i64 60000 10000) (i32 3 0))
  (func (export "salve:plugin/act@0.1.0#plan") (param i32 i32 i32 i32 i32 i32 i64 i64) (result i32)
    (call $log (i32.const 1) (i32.const 2048) (i32.const 13) (i32.const 0) (i32.const 0))
    (i32.const 1024))
  ;; result<outcome>: done at 4, note at 8 and 12. The call's own result<receipt> is written to 3072; its first byte says
  ;; whether it failed.
  (func $change (param $value i32) (param $len i32) (result i32)
    (call $set (i32.const 2096) (i32.const 4) (i32.const 2112) (i32.const 9)
      (i32.const 1) (local.get $value) (local.get $len) (i32.const 3072))
    (i32.store8 (i32.const 1604) (i32.eqz (i32.load8_u (i32.const 3072))))
    (i32.store (i32.const 1608) (i32.const 2048))
    (i32.store (i32.const 1612) (i32.const 13))
    (i32.const 1600))
  (func (export "salve:plugin/act@0.1.0#execute")
    (param i32 i32 i32 i32 i32 i32 i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $change (i32.const 2128) (i32.const 2)))
  (func (export "salve:plugin/act@0.1.0#undo") (param i32) (result i32)
    (call $change (i32.const 2136) (i32.const 1))))
