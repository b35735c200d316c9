;; Well-behaved: reports each point of 100 and more as a level shift. Traps on the value 666, as a detector with a bug
;; would on one odd point, and on series with id 13 when they are added.
(module
  (memory (export "memory") 2)
  (data (i32.const 2048) "over 100")
  ;; Memory from a counter that starts anew with each batch.
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $len)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.div_u (local.get $len) (i32.const 65536)) (i32.const 1))))))
    (local.get $at))
  (func (export "salve:plugin/detect@0.1.0#configure") (param i32 i32) (result i32) (i32.const 0))

  ;; The batch: added 20 (length) at 16, series 32/36, offsets 40/44, times 48, values 56. A series record has 48 bytes,
  ;; its id at 0. An observation has 80: series 0, time 8, kind 16, rising 17, score 20, confidence 24, value 32,
  ;; expected 40, lower 48, upper 56, reason 64/68. result<output>: list at 4/8, scores none at 12.
  (func (export "salve:plugin/detect@0.1.0#observe") (param $batch i32) (result i32)
    (local $index i32) (local $point i32) (local $end i32) (local $out i32) (local $count i32) (local $value f64)
    (local $at i32)
    (local.set $index (i32.const 0))
    (block $added_done
      (loop $added
        (br_if $added_done (i32.ge_u (local.get $index) (i32.load offset=20 (local.get $batch))))
        (if (i32.eq
              (i32.load (i32.add (i32.load offset=16 (local.get $batch)) (i32.mul (local.get $index) (i32.const 48))))
              (i32.const 13))
          (then unreachable))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $added)))
    (local.set $index (i32.const 0))
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
            (if (f64.eq (local.get $value) (f64.const 666)) (then unreachable))
            (if (f64.ge (local.get $value) (f64.const 100))
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
                (f64.store offset=40 (local.get $at) (f64.const 50))
                (f64.store offset=48 (local.get $at) (f64.const 0))
                (f64.store offset=56 (local.get $at) (f64.const 100))
                (i32.store offset=64 (local.get $at) (i32.const 2048))
                (i32.store offset=68 (local.get $at) (i32.const 8))
                (i32.store offset=72 (local.get $at) (i32.const 0))
                (i32.store offset=76 (local.get $at) (i32.const 0))
                (local.set $count (i32.add (local.get $count) (i32.const 1)))))
            (local.set $point (i32.add (local.get $point) (i32.const 1)))
            (br $points)))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $series)))
    (i32.store (i32.const 1028) (local.get $out))
    (i32.store (i32.const 1032) (local.get $count))
    (global.set $next (i32.const 65536))
    (i32.const 1024))

  ;; State: four bytes, format 1.
  (func (export "salve:plugin/detect@0.1.0#snapshot") (result i32)
    (i32.store (i32.const 1028) (i32.const 1))
    (i32.store (i32.const 1032) (i32.const 2048))
    (i32.store (i32.const 1036) (i32.const 4))
    (i32.store (i32.const 1024) (i32.const 0))
    (i32.const 1024))
  (func (export "salve:plugin/detect@0.1.0#restore") (param i32 i32 i32) (result i32) (i32.const 0)))
