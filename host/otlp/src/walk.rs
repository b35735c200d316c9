//! What the three walks share: resources, scopes and the finding of paths for errors.

use crate::{
    Attributes, Resource, Scope,
    error::DecodeError,
    wire::{Reader, Span},
};

/// Calls `visit` for each field `number` of `message`. Other fields are skipped.
#[inline]
pub(crate) fn each<'a>(
    message: &'a [u8],
    number: u32,
    name: &str,
    mut visit: impl FnMut(&'a [u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(message);
    let mut index = 0;
    while let Some((found, wire)) = reader.next()? {
        if found == number {
            wire.bytes(number).and_then(&mut visit).map_err(|error| error.within(name, Some(index)))?;
            index += 1;
        }
    }
    Ok(())
}

/// Walks the resources of a request, and the scopes of each: the same shape for all three signals.
pub(crate) fn resources<'a, V>(
    request: &'a [u8],
    names: [&str; 2],
    visitor: &mut V,
    mut on_resource: impl FnMut(&mut V, Resource<'a>),
    mut on_scope: impl FnMut(&mut V, Scope<'a>),
    mut on_items: impl FnMut(&mut V, &'a [u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let [resources_name, scopes_name] = names;
    each(request, 1, resources_name, |resource_items| {
        // The resource may come after its scopes on the wire, so it is looked for first.
        on_resource(visitor, resource(embedded(resource_items, 1, "resource")?)?);
        each(resource_items, 2, scopes_name, |scope_items| {
            on_scope(visitor, scope(embedded(scope_items, 1, "scope")?)?);
            on_items(visitor, scope_items)
        })
    })
}

/// The embedded message in field `number`; empty if there is none.
fn embedded<'a>(message: &'a [u8], number: u32, name: &str) -> Result<&'a [u8], DecodeError> {
    let mut found = &[][..];
    let mut reader = Reader::new(message);
    while let Some((candidate, wire)) = reader.next()? {
        if candidate == number {
            found = wire.bytes(number).map_err(|error| error.within(name, None))?;
        }
    }
    Ok(found)
}

fn resource(message: &[u8]) -> Result<Resource<'_>, DecodeError> {
    const ATTRIBUTES: u32 = 1;
    let mut span = Span::default();
    let mut reader = Reader::new(message);
    let mut start = 0;
    while let Some((number, _)) = reader.next().map_err(|error| error.within("resource", None))? {
        if number == ATTRIBUTES {
            span.include(start, reader.position());
        }
        start = reader.position();
    }
    Ok(Resource { attributes: Attributes { message: span.of(message), field: ATTRIBUTES } })
}

fn scope(message: &[u8]) -> Result<Scope<'_>, DecodeError> {
    const ATTRIBUTES: u32 = 3;
    let read = || {
        let mut scope = Scope::default();
        let mut span = Span::default();
        let mut reader = Reader::new(message);
        let mut start = 0;
        while let Some((number, wire)) = reader.next()? {
            match number {
                1 => scope.name = wire.str(1)?,
                2 => scope.version = wire.str(2)?,
                ATTRIBUTES => span.include(start, reader.position()),
                _ => {}
            }
            start = reader.position();
        }
        scope.attributes = Attributes { message: span.of(message), field: ATTRIBUTES };
        Ok(scope)
    };
    read().map_err(|error: DecodeError| error.within("scope", None))
}
