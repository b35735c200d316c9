//! What the core instances of a component come to: which function, table, memory and global each number of each instance means,
//! what stands in tables, and what of all that can ever be used.

use super::{
    super::native,
    Obstacle, at, index,
    module::{Module, Slot, Whole},
    wiring::{CoreItem, Host, Lifted, Options, Source, Wiring},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    rc::Rc,
};
use wasmparser::{ConstExpr, ExternalKind, FuncType, Operator, RefType, TypeRef};

/// Slots of a table that are looked at; Python has 6,000.
const SLOTS_MAX: u64 = 1 << 20;
/// Functions that only call another one, one after the other.
const CALLS_MAX: usize = 10;

/// Something that a core instance defines: which instance, and its number there.
pub(super) type Place = (usize, u32);

/// A function, wherever it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Function {
    Defined(Place),
    /// By its number in [`Link::hosts`].
    Host(usize),
    /// Only traps. Of which type, by its number in [`Link::types`].
    Traps(u32),
    MakesResource,
}

/// What a global begins with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
}

/// What the numbers of one core instance mean.
#[derive(Default)]
pub(super) struct Meaning {
    pub(super) functions: Vec<Function>,
    tables: Vec<Place>,
    memories: Vec<Place>,
    globals: Vec<Place>,
}

/// A table.
pub(super) struct Table {
    pub(super) slots: Vec<Option<Function>>,
    /// Whether any code changes it.
    pub(super) changes: bool,
}

/// The core instances of a component, linked.
#[derive(Default)]
pub(super) struct Link<'a> {
    pub(super) modules: Vec<Rc<Module<'a>>>,
    pub(super) meanings: Vec<Meaning>,
    pub(super) hosts: Vec<(Rc<Host<'a>>, u32)>,
    pub(super) types: Vec<FuncType>,
    type_numbers: HashMap<FuncType, u32>,
    pub(super) tables: HashMap<Place, Table>,
    /// Globals that any code sets.
    set: HashSet<Place>,
    pub(super) live: Live,
    /// The memory of whoever calls the code that the build puts in.
    native_memory: Option<CoreItem<'a>>,
}

/// What can be used.
#[derive(Default)]
pub(super) struct Live {
    pub(super) functions: BTreeSet<Place>,
    pub(super) hosts: BTreeSet<usize>,
    pub(super) traps: BTreeSet<u32>,
    pub(super) tables: BTreeSet<Place>,
    pub(super) globals: BTreeSet<Place>,
    /// Globals that live code sets.
    pub(super) set: HashSet<Place>,
    pub(super) memory: Option<Place>,
    pub(super) realloc: Option<Function>,
}

fn number(count: usize) -> Result<u32, Obstacle> {
    u32::try_from(count).map_err(|_| Obstacle::Damaged)
}

impl<'a> Link<'a> {
    /// Links the core instances. `native`: a module with one function, which imports no more than a memory and comes after them.
    pub(super) fn of(wiring: &Wiring<'a>, native: &'a [u8]) -> Result<Self, Obstacle> {
        let mut link = Self::default();
        let native_place = (wiring.instances.len(), 0);
        for (instance, made) in wiring.instances.iter().enumerate() {
            let mut meaning = Meaning::default();
            for import in &made.module.imports {
                let item = match made.arguments.get(import.module).ok_or(Obstacle::Damaged)? {
                    Source::Instance(instance) => CoreItem::Export { instance: *instance, name: import.name },
                    Source::Bundle(items) => items.get(import.name).cloned().ok_or(Obstacle::Damaged)?,
                };
                match import.ty {
                    TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                        let ty = made.module.types.get(index(ty)).ok_or(Obstacle::Damaged)?;
                        let function = match &item {
                            CoreItem::Host(host) if native::is(host.interface) => {
                                link.native_memory.clone_from(&host.options.memory);
                                Function::Defined(native_place)
                            }
                            _ => link.function(&item, ty)?,
                        };
                        meaning.functions.push(function);
                    }
                    TypeRef::Table(_) => meaning.tables.push(link.place(&item, |found| &found.tables)?),
                    TypeRef::Memory(_) => meaning.memories.push(link.place(&item, |found| &found.memories)?),
                    TypeRef::Global(_) => meaning.globals.push(link.place(&item, |found| &found.globals)?),
                    TypeRef::Tag(_) => return Err(Obstacle::Unknown("exceptions")),
                }
            }
            let module = &made.module;
            // Numbers go on after the imported ones.
            while meaning.functions.len() < module.function_types.len() {
                meaning.functions.push(Function::Defined((instance, number(meaning.functions.len())?)));
            }
            for _ in &module.tables {
                meaning.tables.push((instance, number(meaning.tables.len())?));
            }
            for _ in &module.memories {
                meaning.memories.push((instance, number(meaning.memories.len())?));
            }
            for _ in &module.globals {
                meaning.globals.push((instance, number(meaning.globals.len())?));
            }
            let start = module.start.map(|start| at(&meaning.functions, start)).transpose()?;
            link.modules.push(made.module.clone());
            link.meanings.push(meaning);
            if start.is_some_and(|start| !link.is_empty(start)) {
                return Err(Obstacle::Unknown("a core module that starts by itself"));
            }
        }
        if let Some(memory) = link.native_memory.take() {
            let memories = vec![link.place(&memory, |found| &found.memories)?];
            link.modules.push(Rc::new(Module::read(native)?));
            link.meanings.push(Meaning {
                functions: vec![Function::Defined(native_place)],
                memories,
                ..Meaning::default()
            });
        }
        link.note_changes()?;
        link.fill_tables()?;
        link.shorten_calls();
        Ok(link)
    }

    /// Whether a function does nothing.
    fn is_empty(&self, function: Function) -> bool {
        let Function::Defined((instance, number)) = function else { return false };
        let body = self.modules.get(instance).and_then(|module| module.body(number));
        body.is_some_and(|body| body.uses.whole == Whole::Empty)
    }

    /// The number of a type.
    pub(super) fn type_number(&mut self, ty: &FuncType) -> Result<u32, Obstacle> {
        if let Some(number) = self.type_numbers.get(ty) {
            return Ok(*number);
        }
        let new = number(self.types.len())?;
        self.types.push(ty.clone());
        self.type_numbers.insert(ty.clone(), new);
        Ok(new)
    }

    fn export(&self, instance: usize, name: &str) -> Result<(&Meaning, ExternalKind, u32), Obstacle> {
        let module = self.modules.get(instance).ok_or(Obstacle::Damaged)?;
        let (kind, number) = module.exports.get(name).ok_or(Obstacle::Damaged)?;
        Ok((self.meanings.get(instance).ok_or(Obstacle::Damaged)?, *kind, *number))
    }

    /// The function that a core item is, which is used as one of type `ty`.
    fn function(&mut self, item: &CoreItem<'a>, ty: &FuncType) -> Result<Function, Obstacle> {
        match item {
            CoreItem::Export { instance, name } => {
                let (meaning, _, number) = self.export(*instance, name)?;
                at(&meaning.functions, number)
            }
            CoreItem::Host(host) => {
                let ty = self.type_number(ty)?;
                let same = |(known, _): &(Rc<Host<'a>>, u32)| {
                    known.interface == host.interface && known.name == host.name
                };
                if let Some(found) = self.hosts.iter().position(same) {
                    let (known, known_type) = self.hosts.get(found).ok_or(Obstacle::Damaged)?;
                    if known.options != host.options || *known_type != ty {
                        return Err(Obstacle::Unknown("a function of the host that is called in two ways"));
                    }
                    return Ok(Function::Host(found));
                }
                self.hosts.push((host.clone(), ty));
                Ok(Function::Host(self.hosts.len().saturating_sub(1)))
            }
            CoreItem::Traps => Ok(Function::Traps(self.type_number(ty)?)),
            CoreItem::MakesResource => Ok(Function::MakesResource),
        }
    }

    /// The function behind an export or an option of the canonical ABI.
    pub(super) fn exported(&self, item: &CoreItem<'a>) -> Result<Function, Obstacle> {
        let CoreItem::Export { instance, name } = item else {
            return Err(Obstacle::Unknown("an export that has no code"));
        };
        let (meaning, _, number) = self.export(*instance, name)?;
        at(&meaning.functions, number)
    }

    fn place(&self, item: &CoreItem<'a>, of: impl Fn(&Meaning) -> &Vec<Place>) -> Result<Place, Obstacle> {
        let CoreItem::Export { instance, name } = item else { return Err(Obstacle::Damaged) };
        let (meaning, _, number) = self.export(*instance, name)?;
        at(of(meaning), number)
    }

    /// The module that defines something, and the number among those that it defines.
    fn defined<'l, T>(
        &'l self,
        place: Place,
        of: impl Fn(&Meaning) -> &Vec<Place>,
        list: impl Fn(&'l Module<'a>) -> &'l Vec<T>,
    ) -> Result<&'l T, Obstacle> {
        let (instance, number) = place;
        let (Some(module), Some(meaning)) = (self.modules.get(instance), self.meanings.get(instance)) else {
            return Err(Obstacle::Damaged);
        };
        let list = list(module);
        let imported = of(meaning).len().checked_sub(list.len()).ok_or(Obstacle::Damaged)?;
        index(number).checked_sub(imported).and_then(|own| list.get(own)).ok_or(Obstacle::Damaged)
    }

    /// The type of a table.
    pub(super) fn table_type(&self, table: Place) -> Result<wasmparser::TableType, Obstacle> {
        self.defined(table, |meaning| &meaning.tables, |module| &module.tables).copied()
    }

    /// The type of a memory.
    pub(super) fn memory_type(&self, memory: Place) -> Result<wasmparser::MemoryType, Obstacle> {
        self.defined(memory, |meaning| &meaning.memories, |module| &module.memories).copied()
    }

    /// The type of a global, and what it begins with.
    pub(super) fn global(&self, global: Place) -> Result<(wasmparser::GlobalType, Value), Obstacle> {
        let (ty, value) = self.defined(global, |meaning| &meaning.globals, |module| &module.globals)?;
        Ok((*ty, self.value(global.0, value)?))
    }

    /// What a number of an instance means as a global.
    pub(super) fn global_place(&self, instance: usize, number: u32) -> Result<Place, Obstacle> {
        at(&self.meanings.get(instance).ok_or(Obstacle::Damaged)?.globals, number)
    }

    /// What a number of an instance means as a table.
    pub(super) fn table_place(&self, instance: usize, number: u32) -> Result<Place, Obstacle> {
        at(&self.meanings.get(instance).ok_or(Obstacle::Damaged)?.tables, number)
    }

    /// The memory of an instance.
    pub(super) fn memory_place(&self, instance: usize) -> Option<Place> {
        self.meanings.get(instance)?.memories.first().copied()
    }

    /// What a constant expression of an instance comes to. Its globals are those of earlier instances, or earlier ones of its own.
    pub(super) fn value(&self, instance: usize, expression: &ConstExpr<'_>) -> Result<Value, Obstacle> {
        let mut stack = Vec::new();
        let unknown = Obstacle::Unknown("a constant that is not a number");
        for operator in expression.get_operators_reader() {
            let value = match operator? {
                Operator::I32Const { value } => Value::I32(value),
                Operator::I64Const { value } => Value::I64(value),
                Operator::F32Const { value } => Value::F32(value.bits()),
                Operator::F64Const { value } => Value::F64(value.bits()),
                Operator::GlobalGet { global_index } => {
                    self.global(self.global_place(instance, global_index)?)?.1
                }
                operator @ (Operator::I32Add | Operator::I32Sub) => match (stack.pop(), stack.pop()) {
                    (Some(Value::I32(second)), Some(Value::I32(first))) => {
                        let add = matches!(operator, Operator::I32Add);
                        Value::I32(if add { first.wrapping_add(second) } else { first.wrapping_sub(second) })
                    }
                    _ => return Err(unknown),
                },
                Operator::End => break,
                _ => return Err(unknown),
            };
            stack.push(value);
        }
        match stack.as_slice() {
            [value] => Ok(*value),
            _ => Err(unknown),
        }
    }

    /// A place in a memory or table.
    pub(super) fn offset(&self, instance: usize, expression: &ConstExpr<'_>) -> Result<u32, Obstacle> {
        match self.value(instance, expression)? {
            Value::I32(offset) => Ok(offset.cast_unsigned()),
            _ => Err(Obstacle::Unknown("a 64-bit table or memory")),
        }
    }

    fn note_changes(&mut self) -> Result<(), Obstacle> {
        let mut set = HashSet::new();
        for (instance, module) in self.modules.iter().enumerate() {
            for global in module.bodies.iter().flat_map(|body| &body.uses.set) {
                set.insert(self.global_place(instance, *global)?);
            }
        }
        self.set = set;
        Ok(())
    }

    fn fill_tables(&mut self) -> Result<(), Obstacle> {
        let mut tables: HashMap<Place, Table> = HashMap::new();
        for (instance, module) in self.modules.iter().enumerate() {
            for body in &module.bodies {
                for table in &body.uses.changed {
                    let place = self.table_place(instance, *table)?;
                    self.table(&mut tables, place)?.changes = true;
                }
            }
            for elements in &module.elements {
                let place = self.table_place(instance, elements.table)?;
                let offset = index(self.offset(instance, &elements.offset)?);
                let table = self.table(&mut tables, place)?;
                let end = offset.checked_add(elements.functions.len()).ok_or(Obstacle::Damaged)?;
                let slots =
                    table.slots.get_mut(offset..end).ok_or(Obstacle::Unknown("a table that overflows"))?;
                let meaning = self.meanings.get(instance).ok_or(Obstacle::Damaged)?;
                for (slot, function) in slots.iter_mut().zip(&elements.functions) {
                    *slot = function.map(|function| at(&meaning.functions, function)).transpose()?;
                }
            }
        }
        self.tables = tables;
        Ok(())
    }

    fn table<'t>(
        &self,
        tables: &'t mut HashMap<Place, Table>,
        place: Place,
    ) -> Result<&'t mut Table, Obstacle> {
        let ty = self.table_type(place)?;
        if ty.element_type != RefType::FUNCREF || ty.table64 || ty.shared || ty.initial > SLOTS_MAX {
            return Err(Obstacle::Unknown("a table of other things than functions, or a very large one"));
        }
        let length = usize::try_from(ty.initial).map_err(|_| Obstacle::Damaged)?;
        Ok(tables.entry(place).or_insert_with(|| Table { slots: vec![None; length], changes: false }))
    }

    /// Calls of functions that only call the function in a certain slot go to that one.
    fn shorten_calls(&mut self) {
        let shorter = |function: Function| {
            let mut function = function;
            for _ in 0..CALLS_MAX {
                match self.behind(function) {
                    Some(next) => function = next,
                    None => break,
                }
            }
            function
        };
        let meanings: Vec<Vec<Function>> = self
            .meanings
            .iter()
            .map(|meaning| meaning.functions.iter().map(|function| shorter(*function)).collect())
            .collect();
        let tables: Vec<(Place, Vec<Option<Function>>)> = self
            .tables
            .iter()
            .map(|(place, table)| (*place, table.slots.iter().map(|slot| slot.map(shorter)).collect()))
            .collect();
        for (meaning, functions) in self.meanings.iter_mut().zip(meanings) {
            meaning.functions = functions;
        }
        for (place, slots) in tables {
            if let Some(table) = self.tables.get_mut(&place) {
                table.slots = slots;
            }
        }
    }

    /// The function that one only calls, if that is always the same one and of the same type.
    fn behind(&self, function: Function) -> Option<Function> {
        let Function::Defined((instance, number)) = function else { return None };
        let module = self.modules.get(instance)?;
        let Whole::Calls { ty, table, slot } = module.body(number)?.uses.whole else { return None };
        let own = module.function_type(number).ok()?;
        if module.types.get(index(ty))? != own {
            return None;
        }
        let slot = match slot {
            Slot::Constant(slot) => slot,
            Slot::Global(global) => {
                let place = self.global_place(instance, global).ok()?;
                match self.global(place).ok()? {
                    (_, Value::I32(slot)) if !self.set.contains(&place) => slot.cast_unsigned(),
                    _ => return None,
                }
            }
        };
        let table =
            self.tables.get(&self.table_place(instance, table).ok()?).filter(|table| !table.changes)?;
        let target = (*table.slots.get(index(slot))?)?;
        (self.type_of(target)? == own).then_some(target)
    }

    /// The type of a function.
    pub(super) fn type_of(&self, function: Function) -> Option<&FuncType> {
        match function {
            Function::Defined((instance, number)) => self.modules.get(instance)?.function_type(number).ok(),
            Function::Host(host) => self.types.get(index(self.hosts.get(host)?.1)),
            Function::Traps(ty) => self.types.get(index(ty)),
            Function::MakesResource => None,
        }
    }

    /// Finds all that the exports can reach.
    pub(super) fn trace(&mut self, exports: &[Rc<Lifted<'a>>]) -> Result<(), Obstacle> {
        let mut live = Live::default();
        let mut waiting = Vec::new();
        for lifted in exports {
            waiting.push(self.exported(&lifted.function)?);
            self.note_options(&lifted.options, &mut live, &mut waiting)?;
            if let Some(post_return) = &lifted.options.post_return {
                waiting.push(self.exported(post_return)?);
            }
        }
        while let Some(function) = waiting.pop() {
            match function {
                Function::Host(host) => {
                    if live.hosts.insert(host) {
                        let (host, _) = self.hosts.get(host).ok_or(Obstacle::Damaged)?;
                        self.note_options(&host.options, &mut live, &mut waiting)?;
                    }
                }
                Function::Traps(ty) => {
                    live.traps.insert(ty);
                }
                Function::MakesResource => return Err(Obstacle::Unknown("resources of its own")),
                Function::Defined(place) => {
                    if live.functions.insert(place) {
                        self.note_uses(place, &mut live, &mut waiting)?;
                    }
                }
            }
        }
        self.live = live;
        Ok(())
    }

    /// There can be one memory, and one function that gives room in it.
    fn note_options(
        &self,
        options: &Options<'a>,
        live: &mut Live,
        waiting: &mut Vec<Function>,
    ) -> Result<(), Obstacle> {
        if let Some(memory) = &options.memory {
            let memory = self.place(memory, |meaning| &meaning.memories)?;
            if live.memory.replace(memory).is_some_and(|known| known != memory) {
                return Err(Obstacle::Unknown("a second memory"));
            }
        }
        if let Some(realloc) = &options.realloc {
            let realloc = self.exported(realloc)?;
            if live.realloc.replace(realloc).is_some_and(|known| known != realloc) {
                return Err(Obstacle::Unknown("two functions that give memory"));
            }
            waiting.push(realloc);
        }
        Ok(())
    }

    fn note_uses(&self, place: Place, live: &mut Live, waiting: &mut Vec<Function>) -> Result<(), Obstacle> {
        let (instance, number) = place;
        let (Some(module), Some(meaning)) = (self.modules.get(instance), self.meanings.get(instance)) else {
            return Err(Obstacle::Damaged);
        };
        let uses = &module.body(number).ok_or(Obstacle::Damaged)?.uses;
        if let Some(unknown) = uses.unknown {
            return Err(Obstacle::Unknown(unknown));
        }
        for memory in &meaning.memories {
            if live.memory.replace(*memory).is_some_and(|known| known != *memory) {
                return Err(Obstacle::Unknown("a second memory"));
            }
        }
        for function in &uses.functions {
            waiting.push(at(&meaning.functions, *function)?);
        }
        for table in &uses.tables {
            let table = at(&meaning.tables, *table)?;
            if live.tables.insert(table) {
                waiting.extend(
                    self.tables.get(&table).into_iter().flat_map(|table| table.slots.iter().flatten()),
                );
            }
        }
        for global in &uses.globals {
            live.globals.insert(at(&meaning.globals, *global)?);
        }
        for global in &uses.set {
            live.set.insert(at(&meaning.globals, *global)?);
        }
        Ok(())
    }
}
