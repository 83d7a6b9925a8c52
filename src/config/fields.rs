//! The table of settings: the one place that names a setting, documents it, gives its default and
//! its bounds. The structs, the parser, `config list` and `digstore.toml.example` follow from it.

use std::path::PathBuf;

use toml::Value;

use super::alias::Aliases;
use super::parity::Parity;
use super::size::ByteSize;
use super::value::{CompressionLevel, DirList, HomePath, ProgressMode, Script, Setting, When};
use super::{Origin, Origins, USER_SECTIONS};

/// One setting.
pub struct Field {
    /// `section.name`.
    pub key: &'static str,
    /// What it does, a line of text for each element.
    pub doc: &'static [&'static str],
    set: fn(&mut Config, &str) -> Option<()>,
    get: fn(&Config) -> String,
    expects: fn() -> String,
    fits: fn(&Value) -> bool,
    quoted: bool,
}

impl Field {
    /// The section of the key.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// The key without its section.
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// The value in `config`, as text that reads back as the same value.
    pub fn get(&self, config: &Config) -> String {
        (self.get)(config)
    }

    /// The value when nothing sets it.
    pub fn default_text(&self) -> String {
        self.get(&Config::default())
    }

    /// The allowed values, in words that follow "expects".
    pub fn expects(&self) -> String {
        (self.expects)()
    }

    /// Whether `text` is an allowed value.
    pub fn accepts(&self, text: &str) -> bool {
        self.set(&mut Config::default(), text).is_some()
    }

    /// Whether a configuration file writes the value as a string.
    pub fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// Sets the value in `config`; `None` if `text` is not allowed.
    pub(super) fn set(&self, config: &mut Config, text: &str) -> Option<()> {
        (self.set)(config, text)
    }

    /// Whether a value of a configuration file has the right type.
    pub(super) fn fits(&self, value: &Value) -> bool {
        (self.fits)(value)
    }

    /// The environment variables that set it, the first that is set counting; none where the
    /// user's own file alone counts.
    pub fn variables(&self) -> Vec<String> {
        if USER_SECTIONS.contains(&self.section()) {
            return Vec::new();
        }
        let generic = format!("DIGSTORE_{}", self.key.replace('.', "_").to_uppercase());
        match self.section() {
            "user" => vec![format!("DIGSTORE_AUTHOR_{}", self.name().to_uppercase()), generic],
            _ => vec![generic],
        }
    }
}

/// Mints the structs and the table from one list.
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $section:ident: $Section:ident {
            $( $(#[doc = $doc:literal])+ $name:ident $(as $written:literal)?: $Type:ty = $default:expr, in $bounds:expr; )+
        }
    )+) => {
        $(
            $(#[doc = $about])+
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $Section {
                $( $(#[doc = $doc])+ pub $name: $Type, )+
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $name: $default, )+ }
                }
            }
        )+

        /// Every setting, resolved from all its sources.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Config {
            $( $(#[doc = $about])+ pub $section: $Section, )+
            pub(super) origins: Origins,
            /// What the user calls commands.
            pub(super) aliases: Aliases,
            /// Keys that count in the user's file alone and stand in one of a repository.
            pub(super) passed_over: Vec<(String, Origin)>,
            /// The user's ignore file, which need not exist.
            pub(super) ignore_file: Option<PathBuf>,
        }

        /// All settings, in the order in which they are listed.
        pub static FIELDS: &[Field] = &[ $( $(
            Field {
                key: concat!(stringify!($section), ".", written!($name $(, $written)?)),
                doc: &[ $( $doc ),+ ],
                set: |config, text| {
                    config.$section.$name = <$Type as Setting>::parse(text, &$bounds)?;
                    Some(())
                },
                get: |config| config.$section.$name.show(),
                expects: || <$Type as Setting>::expects(&$bounds),
                fits: <$Type as Setting>::fits,
                quoted: <$Type as Setting>::QUOTED,
            },
        )+ )+ ];
    };
}

/// The name of a setting in a file: that of the field, or what stands behind `as`.
macro_rules! written {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident, $written:literal) => {
        $written
    };
}

/// Far beyond any machine: a threshold that is never reached.
const NO_LIMIT: ByteSize = ByteSize::tib(1024);
const NOTHING: ByteSize = ByteSize(0);

settings! {
    /// Who makes commits.
    user: User {
        /// Name of the author of commits.
        name: Option<String> = None, in ();
        /// Address of the author of commits.
        email: Option<String> = None, in ();
    }

    /// How much of the machine is used.
    performance: Performance {
        /// Most worker threads; 0 takes twice the number of processor cores.
        max_worker_threads: usize = 0, in 0..=1024;
        /// Most small files that a worker takes at a time.
        batch_size: usize = 500, in 1..=1_000_000;
        /// Bytes of one read of a large file.
        buffer_size: ByteSize = ByteSize::kib(64), in ByteSize::kib(4)..=ByteSize::mib(64);
        /// Most memory for buffers and caches together; less where the machine has less.
        max_memory_usage: ByteSize = ByteSize::gib(2), in ByteSize::mib(64)..=NO_LIMIT;
        /// Cache of decoded chunks, at most half of the memory; 0 turns it off.
        chunk_cache_size: ByteSize = ByteSize::mib(500), in NOTHING..=NO_LIMIT;
        /// Memory for what is known of new files until it is staged; an add stages each time it is full.
        file_cache_size: ByteSize = ByteSize::mib(100), in NOTHING..=NO_LIMIT;
        /// Larger files are mapped instead of read where most of them is stored already.
        memory_map_threshold: ByteSize = ByteSize::mib(10), in NOTHING..=NO_LIMIT;
        /// Smaller blocks are stored as they are.
        compression_threshold: ByteSize = ByteSize::kib(4), in NOTHING..=NO_LIMIT;
        /// Larger files are spread over the workers piece by piece; others are one worker's.
        streaming_threshold: ByteSize = ByteSize::mib(100), in NOTHING..=NO_LIMIT;
        /// Whether earlier runs tune what is not set: workers, batches, solid blocks.
        auto_tune: bool = true, in ();
    }

    /// How new data is compressed.
    compression: Compression {
        /// Level of zstd, or 'auto' to choose by the data.
        level: CompressionLevel = CompressionLevel::Auto, in -7..=19;
    }

    /// What 'digstore gc' frees, and when.
    gc: Gc {
        /// Hours between the run that condemns a pack and the first that may remove it.
        grace_hours: usize = 24, in 0..=87_600;
        /// A pack is written anew when more than this share of it, in percent, is of no use.
        sparse_percent: usize = 30, in 0..=100;
        /// Days for which operations can be undone, counted back from the last one.
        keep_days: usize = 90, in 0..=36_500;
        /// Operations that can be undone however old they are.
        keep_operations: usize = 100, in 0..=1_000_000;
    }

    /// What is stored beside the data to heal it.
    reliability: Reliability {
        /// Parity that heals packs: 'metadata' for trees, chunk lists and commits; with a share such as
        /// '5%' so much for content too.
        parity: Parity = Parity::None, in 1..=100;
    }

    /// Which files are left out.
    ignore: Ignore {
        /// Whether .gitignore files count beside .digignore files.
        use_gitignore: bool = false, in ();
        /// Your ignore file for all repositories; without it, 'ignore' beside your own settings.
        file: HomePath = HomePath::default(), in ();
    }

    /// How things are shown.
    ui: UiSettings {
        /// When colours are used.
        color: When = When::Auto, in ();
        /// How progress is shown.
        progress: ProgressMode = ProgressMode::Auto, in ();
        /// What shows long output on a terminal; never taken from a repository.
        pager: Option<String> = None, in ();
    }

    /// What the shell runs at a commit; taken from your own settings alone.
    hooks: Hooks {
        /// Before a commit is made; if it fails, none is made.
        pre_commit as "pre-commit": Script = Script::default(), in ();
        /// After a commit was made.
        post_commit as "post-commit": Script = Script::default(), in ();
    }

    /// Whom you trust; taken from your own settings alone.
    safe: Safe {
        /// Repositories of other users that are opened, 'DIR/*' for all below DIR, '*' for all.
        directories: DirList = DirList::default(), in ();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_within_its_own_bounds() {
        for field in FIELDS {
            let mut config = Config::default();
            assert_eq!(field.set(&mut config, &field.default_text()), Some(()), "{}", field.key);
            assert_eq!(config, Config::default(), "{}", field.key);
        }
    }

    #[test]
    fn the_table_of_the_specification_is_whole() {
        let keys: Vec<_> = FIELDS
            .iter()
            .filter(|field| field.section() == "performance")
            .map(|field| (field.name(), field.default_text()))
            .collect();
        let expected = [
            ("max_worker_threads", "0"),
            ("batch_size", "500"),
            ("buffer_size", "64 KiB"),
            ("max_memory_usage", "2 GiB"),
            ("chunk_cache_size", "500 MiB"),
            ("file_cache_size", "100 MiB"),
            ("memory_map_threshold", "10 MiB"),
            ("compression_threshold", "4 KiB"),
            ("streaming_threshold", "100 MiB"),
            // Ours: turns the specification's auto-tuning off.
            ("auto_tune", "true"),
        ];
        assert_eq!(keys, expected.map(|(key, text)| (key, text.to_owned())));
    }

    #[test]
    fn variables_are_named_after_the_key() {
        let variables = |key: &str| {
            FIELDS.iter().find(|field| field.key == key).map(Field::variables).unwrap_or_default()
        };
        assert_eq!(variables("performance.batch_size"), ["DIGSTORE_PERFORMANCE_BATCH_SIZE"]);
        assert_eq!(variables("user.name"), ["DIGSTORE_AUTHOR_NAME", "DIGSTORE_USER_NAME"]);
        assert!(FIELDS.iter().any(|field| field.key == "hooks.pre-commit"));
        assert!(variables("hooks.pre-commit").is_empty());
    }
}
