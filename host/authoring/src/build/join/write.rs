//! The one module that core instances come to, written.

use super::{
    Obstacle, index,
    link::{Function, Link, Place, Value},
    wiring::Wiring,
};
use std::{collections::HashMap, convert::Infallible};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementSection, Elements, ExportKind, ExportSection,
    FunctionSection, GlobalSection, ImportSection, Instruction, MemorySection, NameMap, NameSection,
    TableSection, TypeSection,
    reencode::{self, Reencode, RoundtripReencoder},
};

/// Bytes of a memory page.
const PAGE_BYTES: u64 = 65_536;

/// New numbers, and constants in place of globals.
struct Numbers {
    functions: HashMap<Function, u32>,
    tables: HashMap<Place, u32>,
    globals: HashMap<Place, u32>,
    constants: HashMap<Place, Value>,
}

/// Writes the functions of one core instance with the new numbers.
struct Renumber<'l, 'a> {
    link: &'l Link<'a>,
    numbers: &'l Numbers,
    instance: usize,
    /// The new numbers of its types.
    types: Vec<u32>,
}

type Wrong = reencode::Error<Obstacle>;

impl Reencode for Renumber<'_, '_> {
    type Error = Obstacle;

    fn function_index(&mut self, function: u32) -> Result<u32, Wrong> {
        let meaning = self.link.meanings.get(self.instance);
        let function = meaning.and_then(|meaning| meaning.functions.get(index(function)));
        let found = function.and_then(|function| self.numbers.functions.get(function));
        found.copied().ok_or(reencode::Error::UserError(Obstacle::Damaged))
    }

    fn type_index(&mut self, ty: u32) -> Result<u32, Wrong> {
        self.types.get(index(ty)).copied().ok_or(reencode::Error::UserError(Obstacle::Damaged))
    }

    fn table_index(&mut self, table: u32) -> Result<u32, Wrong> {
        let place = self.link.table_place(self.instance, table).map_err(reencode::Error::UserError)?;
        self.numbers.tables.get(&place).copied().ok_or(reencode::Error::UserError(Obstacle::Damaged))
    }

    fn global_index(&mut self, global: u32) -> Result<u32, Wrong> {
        let place = self.link.global_place(self.instance, global).map_err(reencode::Error::UserError)?;
        self.numbers.globals.get(&place).copied().ok_or(reencode::Error::UserError(Obstacle::Damaged))
    }

    fn instruction<'i>(&mut self, operator: wasmparser::Operator<'i>) -> Result<Instruction<'i>, Wrong> {
        if let wasmparser::Operator::GlobalGet { global_index } = operator {
            let place =
                self.link.global_place(self.instance, global_index).map_err(reencode::Error::UserError)?;
            if let Some(value) = self.numbers.constants.get(&place) {
                return Ok(value.instruction());
            }
        }
        reencode::utils::instruction(self, operator)
    }
}

impl Value {
    fn instruction<'i>(self) -> Instruction<'i> {
        match self {
            Self::I32(value) => Instruction::I32Const(value),
            Self::I64(value) => Instruction::I64Const(value),
            Self::F32(bits) => Instruction::F32Const(wasm_encoder::Ieee32::new(bits)),
            Self::F64(bits) => Instruction::F64Const(wasm_encoder::Ieee64::new(bits)),
        }
    }

    fn expression(self) -> ConstExpr {
        match self {
            Self::I32(value) => ConstExpr::i32_const(value),
            Self::I64(value) => ConstExpr::i64_const(value),
            Self::F32(bits) => ConstExpr::f32_const(wasm_encoder::Ieee32::new(bits)),
            Self::F64(bits) => ConstExpr::f64_const(wasm_encoder::Ieee64::new(bits)),
        }
    }
}

impl From<Infallible> for Obstacle {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl<E: Into<Self>> From<reencode::Error<E>> for Obstacle {
    fn from(error: reencode::Error<E>) -> Self {
        match error {
            reencode::Error::UserError(obstacle) => obstacle.into(),
            reencode::Error::ParseError(error) => Self::Parse(error),
            _ => Self::Unknown("a type that is not of WebAssembly 2.0"),
        }
    }
}

/// Writes the module. What can be used was traced.
pub(super) fn module<'a>(wiring: &Wiring<'a>, link: &mut Link<'a>) -> Result<Vec<u8>, Obstacle> {
    let types_of = types_of_instances(link)?;
    let mut code = Writer::new(link)?;
    for (instance, types) in types_of {
        code.functions(instance, types)?;
    }
    code.traps()?;
    code.exports(wiring)?;
    code.finish()
}

/// The new numbers of the types of each instance that has live functions.
fn types_of_instances(link: &mut Link<'_>) -> Result<Vec<(usize, Vec<u32>)>, Obstacle> {
    let mut all = Vec::new();
    for instance in 0..link.modules.len() {
        if link.live.functions.range((instance, 0)..=(instance, u32::MAX)).next().is_none() {
            continue;
        }
        let module = link.modules.get(instance).cloned().ok_or(Obstacle::Damaged)?;
        let numbers = module.types.iter().map(|ty| link.type_number(ty)).collect::<Result<_, _>>()?;
        all.push((instance, numbers));
    }
    Ok(all)
}

struct Writer<'l, 'a> {
    link: &'l Link<'a>,
    numbers: Numbers,
    imports: ImportSection,
    types: FunctionSection,
    code: CodeSection,
    exports: ExportSection,
    names: NameMap,
}

impl<'l, 'a> Writer<'l, 'a> {
    /// Gives everything its number: the host's functions, those of the instances in their order, those that trap.
    fn new(link: &'l Link<'a>) -> Result<Self, Obstacle> {
        let live = &link.live;
        let mut imports = ImportSection::new();
        let mut functions = HashMap::new();
        let mut next = 0_u32..;
        let mut new = || next.next().ok_or(Obstacle::Damaged);
        for host in &live.hosts {
            let (called, ty) = link.hosts.get(*host).ok_or(Obstacle::Damaged)?;
            imports.import(called.interface, called.name, wasm_encoder::EntityType::Function(*ty));
            functions.insert(Function::Host(*host), new()?);
        }
        for place in &live.functions {
            functions.insert(Function::Defined(*place), new()?);
        }
        for ty in &live.traps {
            functions.insert(Function::Traps(*ty), new()?);
        }
        let tables = live.tables.iter().copied().zip(0..).collect();
        let mut globals = HashMap::new();
        let mut constants = HashMap::new();
        for place in &live.globals {
            if live.set.contains(place) {
                let number = u32::try_from(globals.len()).map_err(|_| Obstacle::Damaged)?;
                globals.insert(*place, number);
            } else {
                constants.insert(*place, link.global(*place)?.1);
            }
        }
        let numbers = Numbers { functions, tables, globals, constants };
        Ok(Self {
            link,
            numbers,
            imports,
            types: FunctionSection::new(),
            code: CodeSection::new(),
            exports: ExportSection::new(),
            names: NameMap::new(),
        })
    }

    /// Writes the live functions of an instance.
    fn functions(&mut self, instance: usize, types: Vec<u32>) -> Result<(), Obstacle> {
        let module = self.link.modules.get(instance).ok_or(Obstacle::Damaged)?;
        let mut renumber = Renumber { link: self.link, numbers: &self.numbers, instance, types };
        for place in self.link.live.functions.range((instance, 0)..=(instance, u32::MAX)) {
            let (_, function) = *place;
            let ty = module.function_types.get(index(function)).ok_or(Obstacle::Damaged)?;
            self.types.function(renumber.type_index(*ty)?);
            let body = module.body(function).ok_or(Obstacle::Damaged)?;
            renumber.parse_function_body(&mut self.code, body.code.clone())?;
            if let (Some(name), Some(number)) =
                (module.function_names.get(&function), self.numbers.functions.get(&Function::Defined(*place)))
            {
                self.names.append(*number, name);
            }
        }
        Ok(())
    }

    fn traps(&mut self) -> Result<(), Obstacle> {
        for ty in &self.link.live.traps {
            self.types.function(*ty);
            let mut function = wasm_encoder::Function::new([]);
            function.instruction(&Instruction::Unreachable).instruction(&Instruction::End);
            self.code.function(&function);
        }
        Ok(())
    }

    fn function(&self, function: Function) -> Result<u32, Obstacle> {
        self.numbers.functions.get(&function).copied().ok_or(Obstacle::Damaged)
    }

    /// Exports under the names by which the canonical ABI finds them.
    fn exports(&mut self, wiring: &Wiring<'a>) -> Result<(), Obstacle> {
        for (interface, name, lifted) in &wiring.exports {
            let name = format!("{interface}#{name}");
            let number = self.function(self.link.exported(&lifted.function)?)?;
            self.exports.export(&name, ExportKind::Func, number);
            if let Some(post_return) = &lifted.options.post_return {
                let number = self.function(self.link.exported(post_return)?)?;
                self.exports.export(&format!("cabi_post_{name}"), ExportKind::Func, number);
            }
        }
        if let Some(realloc) = self.link.live.realloc {
            let number = self.function(realloc)?;
            self.exports.export("cabi_realloc", ExportKind::Func, number);
        }
        if self.link.live.memory.is_some() {
            self.exports.export("memory", ExportKind::Memory, 0);
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, Obstacle> {
        let mut types = TypeSection::new();
        for ty in &self.link.types {
            types.ty().func_type(&RoundtripReencoder.func_type(ty.clone())?);
        }
        let (tables, elements) = self.tables()?;
        let mut memories = MemorySection::new();
        if let Some(memory) = self.link.live.memory {
            let ty = self.link.memory_type(memory)?;
            if ty.memory64 || ty.shared {
                return Err(Obstacle::Unknown("a 64-bit or shared memory"));
            }
            memories.memory(RoundtripReencoder.memory_type(ty)?);
        }
        let mut globals = GlobalSection::new();
        let mut ordered: Vec<(&Place, &u32)> = self.numbers.globals.iter().collect();
        ordered.sort_by_key(|(_, number)| **number);
        for (place, _) in ordered {
            let (ty, value) = self.link.global(*place)?;
            globals.global(RoundtripReencoder.global_type(ty)?, &value.expression());
        }
        let data = self.data()?;
        let mut names = NameSection::new();
        names.functions(&self.names);
        let mut module = wasm_encoder::Module::new();
        module.section(&types).section(&self.imports).section(&self.types);
        if !tables.is_empty() {
            module.section(&tables);
        }
        if !memories.is_empty() {
            module.section(&memories);
        }
        if !globals.is_empty() {
            module.section(&globals);
        }
        module.section(&self.exports);
        if !elements.is_empty() {
            module.section(&elements);
        }
        module.section(&self.code);
        if !data.is_empty() {
            module.section(&data);
        }
        module.section(&names);
        Ok(module.finish())
    }

    /// Tables and what is in them. One that no code changes cannot grow, so its bounds are known when it is compiled.
    fn tables(&self) -> Result<(TableSection, ElementSection), Obstacle> {
        let mut tables = TableSection::new();
        let mut elements = ElementSection::new();
        for (place, number) in self.link.live.tables.iter().zip(0_u32..) {
            let mut ty = self.link.table_type(*place)?;
            let Some(table) = self.link.tables.get(place) else {
                tables.table(RoundtripReencoder.table_type(ty)?);
                continue;
            };
            if !table.changes {
                ty.maximum = Some(ty.initial);
            }
            tables.table(RoundtripReencoder.table_type(ty)?);
            let mut slots = table.slots.iter().zip(0_i32..).peekable();
            while let Some((slot, offset)) = slots.next() {
                let Some(first) = slot else { continue };
                let mut run = vec![self.function(*first)?];
                while let Some((Some(function), _)) = slots.next_if(|(slot, _)| slot.is_some()) {
                    run.push(self.function(*function)?);
                }
                let table = (number != 0).then_some(number);
                elements.active(table, &ConstExpr::i32_const(offset), Elements::Functions(run.into()));
            }
        }
        Ok((tables, elements))
    }

    /// What the instances put into the memory, in their order.
    fn data(&self) -> Result<DataSection, Obstacle> {
        let mut data = DataSection::new();
        let Some(memory) = self.link.live.memory else { return Ok(data) };
        let size = self.link.memory_type(memory)?.initial.saturating_mul(PAGE_BYTES);
        for (instance, module) in self.link.modules.iter().enumerate() {
            for (offset, bytes) in &module.data {
                if self.link.memory_place(instance) != Some(memory) {
                    continue;
                }
                let offset = self.link.offset(instance, offset)?;
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                if u64::from(offset).saturating_add(length) > size {
                    return Err(Obstacle::Unknown("data outside of its memory"));
                }
                data.active(0, &ConstExpr::i32_const(offset.cast_signed()), bytes.iter().copied());
            }
        }
        Ok(data)
    }
}
