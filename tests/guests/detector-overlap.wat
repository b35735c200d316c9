;; observe returns 10,000 observations whose reasons all are the same MiB of text: 800 KB of records in the guest, 10 GB
;; of strings in a host that copies without counting.
(module
  (memory (export "memory") 40)
  ;; Memory from a counter that only rises.
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $len)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.div_u (local.get $len) (i32.const 65536)) (i32.const 1))))))
    (local.get $at))
  (func (export "salve:plugin/detect@0.1.0#configure") (param i32 i32) (result i32) (i32.const 0))
  ;; An observation has 80 bytes; its reason is at 64 (pointer) and 68 (length). The records begin at 1 MiB + 64 KiB, the
  ;; text is the first MiB: zeros, which are valid UTF-8.
  (func (export "salve:plugin/detect@0.1.0#observe") (param i32) (result i32)
    (local $index i32)
    (loop $again
      (i32.store offset=1114180 (i32.mul (local.get $index) (i32.const 80)) (i32.const 1048576))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $index) (i32.const 10000))))
    (i32.store (i32.const 2000004) (i32.const 1114112))
    (i32.store (i32.const 2000008) (i32.const 10000))
    (i32.const 2000000))
  (func (export "salve:plugin/detect@0.1.0#snapshot") (result i32) (i32.const 0))
  (func (export "salve:plugin/detect@0.1.0#restore") (param i32 i32 i32) (result i32) (i32.const 0)))
