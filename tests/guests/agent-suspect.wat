;; Well-behaved: consult blames the service `worker` for `errors`, with one piece of evidence. Tests make versions of it by
;; replacing MECHANISM and EVIDENCE, six and four letters.
(module
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
  (data (i32.const 2048) "worker")
  (data (i32.const 2064) "errors" (;MECHANISM;))
  (data (i32.const 2080) "seen" (;EVIDENCE;))
  ;; result<findings>: hypotheses at 4; suggestions, text, extra follow.
  (data (i32.const 1024) (i32 0  4096 1  0 0  0 0  0 0))
  ;; hypothesis, 40 bytes: suspect 0, mechanism 8, probability 16, evidence 24, extra 32.
  (data (i32.const 4096) (i32 2048 6  2064 6) (f64 0.9) (i32 8192 1  0 0))
  ;; evidence, 24 bytes: text 0, reference 8, weight 16.
  (data (i32.const 8192) (i32 2080 4  0 0) (f64 1.5))
  (func (export "salve:plugin/consult@0.1.0#consult")
    (param i32 i32 i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 1024)))
