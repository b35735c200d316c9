//! Whose plugins may load: what the configuration and the lock file say, put to each component before it is compiled.
//!
//! ## What always holds
//! - what is checked is what is loaded: a file is looked at once, and its digest is that of both
//! - while the lock file or a key cannot be read, nothing new loads

use crate::config::Config;
use salve_distribution::{
    Basis, Digest, Identity, KnownComponent, LockFile, PublicKey, Publisher, SignatureFile, Trust,
    read_bounded, signature_path, write_whole,
};
use salve_model::text::chain;
use salve_plugins::{Identified, LoadError, Manifest, Plugin, PluginHost};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// Largest key file that is read, in bytes.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// Largest signature file that is read, in bytes.
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;
/// Most signatures that are kept for copies.
const SIGNATURES_KEPT_MAX: usize = 1_000;

/// Lets plugins in.
pub struct Admission {
    state: RwLock<State>,
    /// Writes down whose a name is, once it has loaded.
    remembers: bool,
}

struct State {
    trust: Result<Trust, String>,
    seen_path: PathBuf,
    signatures: KeptSignatures,
    /// Rises when the trust changes.
    generation: u64,
}

/// A plugin that was not loaded.
pub struct Refused {
    /// Message, causes and way out.
    pub why: String,
    /// Digest of the content that may not load, in hex; none if it cannot be loaded for another reason.
    pub digest: Option<String>,
}

impl Admission {
    /// Trusts nobody until [`Admission::set`], and remembers whose each name is.
    pub fn remembering() -> Self {
        let state = State {
            trust: Ok(Trust::default()),
            seen_path: PathBuf::new(),
            signatures: KeptSignatures { folder: PathBuf::new() },
            generation: 0,
        };
        Self { state: RwLock::new(state), remembers: true }
    }

    /// Of this configuration, without leaving a trace.
    pub fn looking(config: &Config) -> Self {
        let admission = Self { remembers: false, ..Self::remembering() };
        admission.set(config);
        admission
    }

    /// Reads keys and lock files again.
    pub fn set(&self, config: &Config) {
        let trust = trust(config);
        if let Err(why) = &trust {
            tracing::error!(why, "Nothing new loads until this is corrected.");
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.trust != trust {
            state.generation += 1;
        }
        state.trust = trust;
        state.seen_path = seen_path(config);
        state.signatures = KeptSignatures { folder: config.state_directory.join("signatures") };
    }

    /// Rises when other plugins may load than before.
    pub fn generation(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Changes when a component must be looked at again, although its file is the same.
    pub fn mark(&self, component: &Path) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.state.read().unwrap_or_else(PoisonError::into_inner).generation.hash(&mut hasher);
        if let Ok(metadata) = std::fs::metadata(signature_path(component)) {
            (metadata.len(), metadata.modified().ok()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Finds out what a component is, lets it in or not, and loads it; gives back what was found, too. The signature is beside it,
    /// or was, when this content was loaded before: a copy that is kept for a way back needs none beside it.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn load(
        &self,
        host: &PluginHost,
        path: &Path,
    ) -> Result<(Arc<Plugin>, Identified<'static>), Refused> {
        let component = host.identify(path).map_err(|error| Refused::of_load(&error))?;
        let digest = component
            .digest()
            .parse::<Digest>()
            .map_err(|error| Refused { why: format!("`{}`: {error}", component.digest()), digest: None })?;
        let known = KnownComponent {
            digest,
            size_bytes: component.size_bytes() as u64,
            bytes: &|| component.bytes().map_err(|error| chain(&error)),
        };
        let Admitted { identity, signature, trust, signatures } =
            self.judge(path, &known, component.manifest())?;
        let plugin = host.load_identified(&component).map_err(|error| Refused::of_load(&error))?;
        if let Some(signature) = signature.filter(|_| self.remembers && identity.basis == Basis::Signed) {
            signatures.keep(identity.digest, &signature);
        }
        if self.remembers
            && let Some(entry) = trust.to_remember(&identity)
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let written = LockFile::update(&state.seen_path, |seen| {
                seen.insert(entry.clone());
                Ok::<_, salve_distribution::LockError>(())
            });
            if let Err(error) = written {
                tracing::warn!(%error, plugin = identity.name, "Cannot write down whose this plugin is.");
            }
            if let Ok(trust) = &mut state.trust {
                trust.seen.insert(entry);
            }
        }
        Ok((plugin, component))
    }

    /// Whose a component is, as loading it finds; without loading it or leaving a trace.
    ///
    /// # Errors
    /// [`Refused`]: it may not load.
    pub fn identity(&self, path: &Path, bytes: &[u8], manifest: &Manifest) -> Result<Identity, Refused> {
        let admitted = self.judge(path, &KnownComponent::of(bytes, &|| Ok(bytes)), manifest);
        admitted.map(|admitted| admitted.identity)
    }

    fn judge(
        &self,
        path: &Path,
        component: &KnownComponent<'_>,
        manifest: &Manifest,
    ) -> Result<Admitted, Refused> {
        let digest = component.digest;
        let (trust, signatures) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (state.trust.clone(), state.signatures.clone())
        };
        let trust = trust.map_err(|why| Refused { why, digest: None })?;
        let admitted = Trust::signature_beside(path, manifest).and_then(|beside| {
            let signature = beside.or_else(|| signatures.get(digest));
            let identity = trust.judge_known(component, manifest, signature.as_ref())?;
            Ok((identity, signature))
        });
        match admitted {
            Ok((identity, signature)) => Ok(Admitted { identity, signature, trust, signatures }),
            Err(refusal) => Err(Refused { why: refusal.explain(), digest: Some(digest.hex()) }),
        }
    }
}

/// A component that was let in, and by what.
struct Admitted {
    identity: Identity,
    signature: Option<SignatureFile>,
    trust: Trust,
    signatures: KeptSignatures,
}

/// Signatures of what has loaded, by digest, for copies that are loaded again. Each is verified anew, so it does not matter
/// who could write here.
#[derive(Clone)]
struct KeptSignatures {
    folder: PathBuf,
}

impl KeptSignatures {
    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{}.sig", digest.hex()))
    }

    fn get(&self, digest: Digest) -> Option<SignatureFile> {
        let bytes = read_bounded(&self.path(digest), SIGNATURE_BYTES_MAX).ok()?;
        SignatureFile::parse(&bytes).ok()
    }

    fn keep(&self, digest: Digest, signature: &SignatureFile) {
        if self.get(digest).as_ref() == Some(signature) {
            return;
        }
        let written = self.make_room().map_err(|error| error.to_string()).and_then(|()| {
            let bytes = signature.to_bytes().map_err(|error| error.to_string())?;
            write_whole(&self.path(digest), &bytes).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(
                error,
                "A plugin's signature is not kept; without its file there is no way back to it."
            );
        }
    }

    /// Removes the oldest, so that one more fits.
    fn make_room(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut files = Vec::new();
        for item in std::fs::read_dir(&self.folder)? {
            let item = item?;
            files.push((item.metadata()?.modified()?, item.path()));
        }
        files.sort();
        let surplus = (files.len() + 1).saturating_sub(SIGNATURES_KEPT_MAX);
        files.iter().take(surplus).try_for_each(|(_, path)| std::fs::remove_file(path))
    }
}

impl Refused {
    fn of_load(error: &LoadError) -> Self {
        let mut why = chain(error);
        if let Some(hint) = error.hint() {
            why.push_str(&format!(". {hint}"));
        }
        Self { why, digest: None }
    }
}

/// What has loaded here before.
fn seen_path(config: &Config) -> PathBuf {
    config.state_directory.join("plugins-seen.lock")
}

/// What this configuration says, with the lock file as it is now.
///
/// # Errors
/// What cannot be read, and why.
pub fn trust(config: &Config) -> Result<Trust, String> {
    let load = |path: &Path| {
        LockFile::load(path).map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    };
    let mut pins: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for grant in &config.grants {
        // The configuration was checked: what is no digest is not there.
        if let Some(digest) = grant.digest.as_ref().and_then(|digest| digest.parse().ok()) {
            pins.entry(grant.plugin.0.clone()).or_default().insert(digest);
        }
    }
    Ok(Trust {
        publishers: publishers(config).map_err(|problems| problems.join("; "))?,
        pins,
        dev: config.plugins.dev,
        lock: load(&config.lock_path())?,
        seen: load(&seen_path(config))?,
    })
}

/// The publishers' keys.
///
/// # Errors
/// One line for each that cannot be used.
pub fn publishers(config: &Config) -> Result<Vec<Publisher>, Vec<String>> {
    let mut problems = Vec::new();
    let mut publishers: Vec<Publisher> = Vec::new();
    for publisher in &config.publishers {
        let text = if publisher.is_inline() {
            Ok(publisher.key.clone())
        } else {
            read_bounded(Path::new(&publisher.key), KEY_BYTES_MAX)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|error| format!("{error}: {}", error.source))
        };
        let key = text.and_then(|text| {
            PublicKey::from_pem(&text).map_err(|error| match error.hint() {
                Some(hint) => format!("{error}. {hint}"),
                None => error.to_string(),
            })
        });
        match key {
            Ok(key) => {
                if let Some(other) = publishers.iter().find(|other| other.key == key) {
                    problems
                        .push(format!("publisher `{}`: `{}` has the same key", publisher.name, other.name));
                }
                publishers.push(Publisher { name: publisher.name.clone(), key });
            }
            Err(why) => problems.push(format!("publisher `{}`: {why}", publisher.name)),
        }
    }
    if problems.is_empty() { Ok(publishers) } else { Err(problems) }
}
