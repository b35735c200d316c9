;; Well-behaved: counts points and sums their values and squares, and says so in its snapshot, so that a test can tell whether
;; a point was lost or seen twice. Tests make versions of it by replacing THRESHOLD (points from here on are abnormal),
;; POISON (values from here on make it trap), FORMAT (of its snapshot) and START (rounds of a loop at its start; -1: no end).
(module
  (memory (export "memory") 2)
  (global $threshold f64 (f64.const 1e300 (;THRESHOLD;)))
  (global $poison f64 (f64.const 1e300 (;POISON;)))
  (global $format i32 (i32.const 1 (;FORMAT;)))
  (func $wait (local $left i64)
    (local.set $left (i64.const 0 (;START;)))
    (block $done
      (loop $again
        (br_if $done (i64.eqz (local.get $left)))
        (local.set $left (i64.sub (local.get $left) (i64.const 1)))
        (br $again))))
  (start $wait)
  (data (i32.const 2100) "another format")
  ;; Memory from a counter that starts anew with each batch.
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $len)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.div_u (local.get $len) (i32.const 65536)) (i32.const 1))))))
    (local.get $at))
  (func (export "salve:plugin/detect@0.1.0#configure") (param i32 i32) (result i32)
    (global.set $next (i32.const 65536))
    (i32.const 0))

  (func $add (param $at i32) (param $value f64)
    (f64.store (local.get $at) (f64.add (f64.load (local.get $at)) (local.get $value))))

  ;; State: count at 2048, sum at 2056, sum of squares at 2064. The batch and the observations are laid out as in
  ;; detector-threshold.wat.
  (func (export "salve:plugin/detect@0.1.0#observe") (param $batch i32) (result i32)
    (local $index i32) (local $point i32) (local $end i32) (local $out i32) (local $count i32) (local $value f64)
    (local $at i32)
    (local.set $out (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (block $done
      (loop $series
        (br_if $done (i32.ge_u (local.get $index) (i32.load offset=36 (local.get $batch))))
        (local.set $at (i32.add (i32.load offset=40 (local.get $batch)) (i32.shl (local.get $index) (i32.const 2))))
        (local.set $point (i32.load (local.get $at)))
        (local.set $end (i32.load offset=4 (local.get $at)))
        (block $series_done
          (loop $points
            (br_if $series_done (i32.ge_u (local.get $point) (local.get $end)))
            (local.set $value
              (f64.load (i32.add (i32.load offset=56 (local.get $batch)) (i32.shl (local.get $point) (i32.const 3)))))
            (if (f64.ge (local.get $value) (global.get $poison)) (then unreachable))
            (call $add (i32.const 2048) (f64.const 1))
            (call $add (i32.const 2056) (local.get $value))
            (call $add (i32.const 2064) (f64.mul (local.get $value) (local.get $value)))
            (if (f64.ge (local.get $value) (global.get $threshold))
              (then
                (local.set $at (i32.add (local.get $out) (i32.mul (local.get $count) (i32.const 80))))
                (if (i32.gt_u (i32.add (local.get $at) (i32.const 80)) (i32.mul (memory.size) (i32.const 65536)))
                  (then (drop (memory.grow (i32.const 1)))))
                (i32.store (local.get $at)
                  (i32.load (i32.add (i32.load offset=32 (local.get $batch)) (i32.shl (local.get $index) (i32.const 2)))))
                (i64.store offset=8 (local.get $at)
                  (i64.load (i32.add (i32.load offset=48 (local.get $batch)) (i32.shl (local.get $point) (i32.const 3)))))
                (i32.store8 offset=16 (local.get $at) (i32.const 1))
                (i32.store8 offset=17 (local.get $at) (i32.const 1))
                (f32.store offset=20 (local.get $at) (f32.const 0.75))
                (f32.store offset=24 (local.get $at) (f32.const 1))
                (f64.store offset=32 (local.get $at) (local.get $value))
                (f64.store offset=40 (local.get $at) (f64.const 0))
                (f64.store offset=48 (local.get $at) (f64.const 0))
                (f64.store offset=56 (local.get $at) (f64.const 0))
                (i32.store offset=64 (local.get $at) (i32.const 2100))
                (i32.store offset=68 (local.get $at) (i32.const 14))
                (i32.store offset=72 (local.get $at) (i32.const 0))
                (i32.store offset=76 (local.get $at) (i32.const 0))
                (local.set $count (i32.add (local.get $count) (i32.const 1)))))
            (local.set $point (i32.add (local.get $point) (i32.const 1)))
            (br $points)))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $series)))
    (i32.store (i32.const 1024) (i32.const 0))
    (i32.store (i32.const 1028) (local.get $out))
    (i32.store (i32.const 1032) (local.get $count))
    (i32.store (i32.const 1036) (i32.const 0))
    (global.set $next (i32.const 65536))
    (i32.const 1024))

  (func (export "salve:plugin/detect@0.1.0#snapshot") (result i32)
    (i32.store (i32.const 1024) (i32.const 0))
    (i32.store (i32.const 1028) (global.get $format))
    (i32.store (i32.const 1032) (i32.const 2048))
    (i32.store (i32.const 1036) (i32.const 24))
    (i32.const 1024))

  ;; result<_, string>: discriminant at 1040, pointer and length after it.
  (func (export "salve:plugin/detect@0.1.0#restore") (param $format i32) (param $bytes i32) (param $len i32) (result i32)
    (global.set $next (i32.const 65536))
    (i32.store (i32.const 1040) (i32.ne (local.get $format) (global.get $format)))
    (i32.store (i32.const 1044) (i32.const 2100))
    (i32.store (i32.const 1048) (i32.const 14))
    (if (i32.and (i32.eq (local.get $format) (global.get $format)) (i32.eq (local.get $len) (i32.const 24)))
      (then (memory.copy (i32.const 2048) (local.get $bytes) (i32.const 24))))
    (i32.const 1040)))
