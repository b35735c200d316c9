//! Code that a build puts into a component in place of an import: SHA-256 for JavaScript.
//!
//! A plan names bodies by digest, and an interpreter takes half a millisecond for one of 150 bytes. So actions are built for a world with one
//! more interface than their own, and when core modules are joined, calls of it become calls of the code below.
//!
//! ## What always holds
//! - a component that is done has no such import: it is joined, or it is built again without
//! - the code works on the memory of the component that calls it, and on nothing but what it is given
//!
//! Not here: padding (the SDK).

use super::join::Obstacle;
use salve_plugins::{Manifest, wit_files};

/// The interface.
pub(super) const NAME: &str = "native";
/// The file that describes it.
pub(super) const FILE: &str = "native.wit";
/// Its function.
const FUNCTION: &str = "sha256-blocks";

/// The first 32 bits of the fractional parts of the square roots of the first 8 primes (FIPS 180-4).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
#[rustfmt::skip]
const ROUNDS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The plugin's own world with the interface.
pub(super) fn wit(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let with = |(name, text): (&'static str, String)| match name {
        "own.wit" => (name, text.replacen("{\n", &format!("{{\n    import {NAME};\n"), 1)),
        _ => (name, text),
    };
    let mut files: Vec<_> = wit_files(manifest).into_iter().map(with).collect();
    let words = ["u32"; 8].join(", ");
    files.push((
        FILE,
        format!(
            "package salve:plugin@{};\ninterface {NAME} {{ {FUNCTION}: func(padded: list<u8>) -> tuple<{words}>; }}\n",
            manifest.contract
        ),
    ));
    files
}

/// Whether an interface, by its whole name, is this one.
pub(super) fn is(interface: &str) -> bool {
    interface.strip_prefix("salve:plugin/").and_then(|rest| rest.split('@').next()) == Some(NAME)
}

/// The core module with the code: it imports a memory and exports one function, as the canonical ABI calls it.
pub(super) fn module() -> Result<Vec<u8>, Obstacle> {
    wat::parse_str(text()).map_err(|_| Obstacle::Damaged)
}

/// The sum of terms.
fn sum(terms: &[String]) -> String {
    let (Some(first), rest) = (terms.first(), terms.get(1..).unwrap_or_default()) else {
        return String::new();
    };
    rest.iter().fold(first.clone(), |sum, term| format!("(i32.add {sum} {term})"))
}

fn rotated(x: &str, counts: &[u32]) -> String {
    let parts: Vec<_> = counts.iter().map(|count| format!("(i32.rotr {x} (i32.const {count}))")).collect();
    let (first, rest) = (parts.first().cloned().unwrap_or_default(), parts.get(1..).unwrap_or_default());
    rest.iter().fold(first, |all, part| format!("(i32.xor {all} {part})"))
}

fn shifted(x: &str, rotations: &[u32], shift: u32) -> String {
    format!("(i32.xor {} (i32.shr_u {x} (i32.const {shift})))", rotated(x, rotations))
}

/// All rounds written out: variables change their names from round to round instead of their values.
fn text() -> String {
    const LETTERS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let get = |name: &str| format!("(local.get ${name})");
    let word = |number: usize| format!("w{}", number % 16);
    let mut code = String::new();
    let mut locals = String::new();
    let mut line = |text: String| code.push_str(&(text + "\n"));
    for name in LETTERS {
        locals.push_str(&format!("(local ${name} i32) (local $s{name} i32) "));
    }
    for number in 0..16 {
        locals.push_str(&format!("(local ${} i32) ", word(number)));
    }
    for (name, value) in LETTERS.iter().zip(INITIAL) {
        line(format!("(local.set $s{name} (i32.const {value}))"));
    }
    line("(block $done (loop $next (br_if $done (i32.ge_u (local.get $at) (local.get $end)))".into());
    for name in LETTERS {
        line(format!("(local.set ${name} (local.get $s{name}))"));
    }
    for number in 0..16 {
        // Bytes are in the other order.
        line(format!("(local.set $sum (i32.load offset={} align=1 (local.get $at)))", 4 * number));
        line(format!(
            "(local.set ${} (i32.or (i32.and (i32.rotl {sum} (i32.const 8)) (i32.const 0x00ff00ff))
               (i32.and (i32.rotr {sum} (i32.const 8)) (i32.const 0xff00ff00))))",
            word(number),
            sum = get("sum")
        ));
    }
    for (round, constant) in ROUNDS.iter().enumerate() {
        let w = |before: usize| get(&word(round + 16 - before));
        if round >= 16 {
            let next = sum(&[w(16), shifted(&w(15), &[7, 18], 3), w(7), shifted(&w(2), &[17, 19], 10)]);
            line(format!("(local.set ${} {next})", word(round)));
        }
        let name = |place: usize| LETTERS[(place + 64 - round) % 8];
        let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|place| get(name(place)));
        let choice = format!("(i32.xor {g} (i32.and {e} (i32.xor {f} {g})))");
        let majority = format!("(i32.or (i32.and {a} {b}) (i32.and {c} (i32.or {a} {b})))");
        let first = sum(&[h, rotated(&e, &[6, 11, 25]), choice, format!("(i32.const {constant})"), w(16)]);
        line(format!("(local.set $sum {first})"));
        line(format!("(local.set ${} {})", name(3), sum(&[d, get("sum")])));
        line(format!("(local.set ${} {})", name(7), sum(&[get("sum"), rotated(&a, &[2, 13, 22]), majority])));
    }
    for name in LETTERS {
        line(format!("(local.set $s{name} (i32.add (local.get $s{name}) (local.get ${name})))"));
    }
    line("(local.set $at (i32.add (local.get $at) (i32.const 64))) (br $next)))".into());
    for (name, number) in LETTERS.iter().zip(0..) {
        line(format!("(i32.store offset={} (local.get $out) (local.get $s{name}))", 4 * number));
    }
    format!(
        "(module (import \"env\" \"memory\" (memory 0))
           (func (export \"{FUNCTION}\") (param $at i32) (param $length i32) (param $out i32)
             (local $end i32) (local $sum i32) {locals}
             (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const -64))))
             {code}))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use wasmtime::{Engine, Instance, Memory, MemoryType, Module, Store};

    /// Guarantees: the code computes SHA-256 of padded bytes, of one block and of more.
    #[test]
    fn digests_are_those_of_sha_256() {
        let engine = Engine::default();
        let code = Module::new(&engine, module().unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
        let instance = Instance::new(&mut store, &code, &[memory.into()]).unwrap();
        let blocks = instance.get_typed_func::<(i32, i32, i32), ()>(&mut store, FUNCTION).unwrap();
        for length in [0_u16, 1, 55, 56, 63, 64, 65, 119, 120, 1_000] {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.to_le_bytes()[0].wrapping_mul(7)).collect();
            let mut padded = bytes.clone();
            padded.push(0x80);
            padded.resize((bytes.len() + 9).next_multiple_of(64) - 8, 0);
            padded.extend((u64::from(length) * 8).to_be_bytes());
            memory.write(&mut store, 100, &padded).unwrap();
            blocks.call(&mut store, (100, i32::try_from(padded.len()).unwrap(), 8)).unwrap();
            let mut words = [0; 32];
            memory.read(&store, 8, &mut words).unwrap();
            words.chunks_exact_mut(4).for_each(<[u8]>::reverse);
            assert_eq!(words.as_slice(), Sha256::digest(&bytes).as_slice(), "{length} bytes");
        }
    }

    /// Guarantees: the interface is known by its name, whatever its version.
    #[test]
    fn the_interface_is_known() {
        assert!(
            is("salve:plugin/native@0.1.0")
                && !is("salve:plugin/natives@0.1.0")
                && !is("other:plugin/native@0.1.0")
        );
    }
}
