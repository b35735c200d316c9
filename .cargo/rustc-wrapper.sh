#!/usr/bin/env bash
# Compiles a crate of this workspace. Test programs are compiled at level 0: cargo has no profile for them alone, at level 3
# they are a third of all there is to build, and they wait more than they compute. But the decision core's try many cases.
case " $* " in
*" --crate-name salve_core "*) ;;
*" --test "*) set -- "$@" -C opt-level=0 ;;
esac
exec "$@"
