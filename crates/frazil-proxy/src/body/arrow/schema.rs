//! The columns of a stream: which types they have, and which of those have a form in JSON.

use std::collections::{HashMap, HashSet};

use arrow_ipc::{DateUnit, Field, IntervalUnit, Precision, TimeUnit, Type};

use super::{Fault, Outcome, shortened};

/// Most columns, those inside others included. More: `400`.
const COLUMNS_MAX: usize = 10_000;

/// Most bytes of all names of columns together. More: `400`.
const NAMES_MAX_BYTES: usize = 1 << 20;

/// Metadata key of a field under which the name of its extension type stands.
const EXTENSION_NAME: &str = "ARROW:extension:name";

/// The extension type of UUIDs.
const UUID_EXTENSION: &str = "arrow.uuid";

/// Most digits that Arrow's decimals have, and so the largest sensible scale.
const SCALE_MAX: u32 = 76;

/// The columns of a stream.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) columns: Vec<Column>,
    /// The values of each dictionary, by its id.
    pub(super) dictionaries: HashMap<i64, Column>,
}

/// One column, at any depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// The name as it stands in an object: quoted, with its colon.
    pub(super) key: Box<[u8]>,
    pub(super) kind: Kind,
}

/// How wide the numbers are by which variable lengths are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Four,
    Eight,
}

/// A whole number: bytes, and whether it has a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) bytes: usize,
    pub(super) signed: bool,
}

/// The unit of a time: how many make a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) per_second: i64,
    /// Fractional digits.
    pub(super) digits: usize,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Whole(Whole),
    /// By its bytes.
    Float(usize),
    Decimal {
        bytes: usize,
        scale: i32,
    },
    /// Days.
    Date32,
    /// Milliseconds.
    Date64,
    Time {
        bytes: usize,
        unit: Unit,
    },
    Timestamp {
        unit: Unit,
        zoned: bool,
    },
    Text(Width),
    TextView,
    Binary(Width),
    BinaryView,
    /// By its bytes.
    Fixed(usize),
    Uuid,
    List(Width, Box<Column>),
    ListView(Width, Box<Column>),
    /// By its length.
    FixedList(usize, Box<Column>),
    Struct(Vec<Column>),
    Map {
        /// Keys and values.
        entries: Box<[Column; 2]>,
        /// Whether the keys are text, so that a map is an object.
        text: bool,
    },
    Dictionary {
        id: i64,
        index: Whole,
    },
    /// The ends, and the values.
    RunEnds(Whole, Box<Column>),
}

impl Schema {
    /// Reads the first message.
    ///
    /// # Errors
    /// For types without a form in JSON, columns of one name, and schemas beyond the limits.
    pub(super) fn read(schema: arrow_ipc::Schema<'_>) -> Outcome<Self> {
        let mut reader = Reader { columns: 0, names: 0, dictionaries: HashMap::new() };
        let columns = reader.columns(schema.fields().into_iter().flatten())?;
        Ok(Self { columns, dictionaries: reader.dictionaries })
    }
}

struct Reader {
    columns: usize,
    names: usize,
    dictionaries: HashMap<i64, Column>,
}

impl Reader {
    /// The members of an object.
    fn columns<'b>(&mut self, fields: impl Iterator<Item = Field<'b>>) -> Outcome<Vec<Column>> {
        let columns = fields.map(|field| self.column(field)).collect::<Outcome<Vec<_>>>()?;
        let mut names = HashSet::with_capacity(columns.len());
        match columns.iter().find(|column| !names.insert(column.name.as_str())) {
            Some(twin) => Err(Fault::invalid(format!("two columns have the name {:?}", shortened(&twin.name)))),
            None => Ok(columns),
        }
    }

    fn column(&mut self, field: Field<'_>) -> Outcome<Column> {
        let name = field.name().unwrap_or_default();
        self.columns += 1;
        self.names += name.len();
        if self.columns > COLUMNS_MAX {
            return Err(Fault::invalid(format!("it has more than {COLUMNS_MAX} columns, nested ones included")));
        }
        if self.names > NAMES_MAX_BYTES {
            return Err(Fault::invalid(format!("the names of its columns exceed {NAMES_MAX_BYTES} bytes")));
        }
        let kind = self.kind(field).map_err(|fault| fault.within(name))?;
        Ok(named(name, kind))
    }

    /// The type of a column, which may be kept by a dictionary.
    fn kind(&mut self, field: Field<'_>) -> Outcome<Kind> {
        let plain = self.plain_kind(field)?;
        let Some(encoding) = field.dictionary() else { return Ok(plain) };
        let index = match encoding.indexType() {
            Some(int) => whole(int.bitWidth(), int.is_signed())?,
            None => Whole { bytes: 4, signed: true },
        };
        let (id, values) = (encoding.id(), named("", plain));
        if self.dictionaries.get(&id).is_some_and(|known| *known != values) {
            return Err(Fault::invalid(format!("the dictionary {id} serves columns of different types")));
        }
        self.dictionaries.insert(id, values);
        Ok(Kind::Dictionary { id, index })
    }

    fn plain_kind(&mut self, field: Field<'_>) -> Outcome<Kind> {
        let kind = match field.type_type() {
            Type::Null => Kind::Null,
            Type::Bool => Kind::Boolean,
            Type::Int => {
                let int = field.type_as_int().ok_or_else(malformed)?;
                Kind::Whole(whole(int.bitWidth(), int.is_signed())?)
            }
            Type::FloatingPoint => float(field)?,
            Type::Decimal => decimal(field)?,
            Type::Date | Type::Time | Type::Timestamp => time(field)?,
            Type::Utf8 => Kind::Text(Width::Four),
            Type::LargeUtf8 => Kind::Text(Width::Eight),
            Type::Utf8View => Kind::TextView,
            Type::Binary => Kind::Binary(Width::Four),
            Type::LargeBinary => Kind::Binary(Width::Eight),
            Type::BinaryView => Kind::BinaryView,
            Type::FixedSizeBinary => fixed(field)?,
            Type::List => Kind::List(Width::Four, self.child(field)?),
            Type::LargeList => Kind::List(Width::Eight, self.child(field)?),
            Type::ListView => Kind::ListView(Width::Four, self.child(field)?),
            Type::LargeListView => Kind::ListView(Width::Eight, self.child(field)?),
            Type::FixedSizeList => {
                let list = field.type_as_fixed_size_list().ok_or_else(malformed)?;
                Kind::FixedList(usize::try_from(list.listSize()).map_err(|_| malformed())?, self.child(field)?)
            }
            Type::Struct_ => Kind::Struct(self.columns(field.children().into_iter().flatten())?),
            Type::Map => self.map(field)?,
            Type::RunEndEncoded => self.run_ends(field)?,
            other => return Err(unsupported(field, other)),
        };
        Ok(kind)
    }

    /// The only child.
    fn child(&mut self, field: Field<'_>) -> Outcome<Box<Column>> {
        let children = field.children().ok_or_else(malformed)?;
        if children.len() != 1 {
            return Err(malformed());
        }
        self.column(children.get(0)).map(Box::new)
    }

    fn map(&mut self, field: Field<'_>) -> Outcome<Kind> {
        let entries = self.child(field)?;
        let Kind::Struct(members) = entries.kind else { return Err(malformed()) };
        let entries = <[Column; 2]>::try_from(members).map_err(|_| malformed())?;
        Ok(Kind::Map { text: self.is_text(&entries[0].kind), entries: Box::new(entries) })
    }

    fn is_text(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Text(_) | Kind::TextView => true,
            Kind::Dictionary { id, .. } => self.dictionaries.get(id).is_some_and(|values| self.is_text(&values.kind)),
            Kind::RunEnds(_, values) => self.is_text(&values.kind),
            _ => false,
        }
    }

    fn run_ends(&mut self, field: Field<'_>) -> Outcome<Kind> {
        let children = field.children().filter(|children| children.len() == 2).ok_or_else(malformed)?;
        let ends = self.column(children.get(0))?;
        let values = self.column(children.get(1))?;
        match ends.kind {
            Kind::Whole(whole) if whole.signed && whole.bytes > 1 => Ok(Kind::RunEnds(whole, Box::new(values))),
            _ => Err(malformed()),
        }
    }
}

fn named(name: &str, kind: Kind) -> Column {
    let mut key = serde_json::to_vec(name).expect("text always is JSON");
    key.push(b':');
    Column { name: name.to_owned(), key: key.into(), kind }
}

fn malformed() -> Box<Fault> {
    Fault::invalid("its type is malformed")
}

fn unsupported(field: Field<'_>, ty: Type) -> Box<Fault> {
    let name = match ty {
        Type::Duration => "durations",
        Type::Interval => match field.type_as_interval().map(|interval| interval.unit()) {
            Some(IntervalUnit::YEAR_MONTH) => "intervals of months",
            Some(IntervalUnit::DAY_TIME) => "intervals of days and milliseconds",
            _ => "intervals",
        },
        Type::Union => "unions",
        _ => "columns of this type",
    };
    Fault::invalid(format!("{name} are not supported; no column of a table holds them"))
}

fn whole(bits: i32, signed: bool) -> Outcome<Whole> {
    match bits {
        8 | 16 | 32 | 64 => Ok(Whole { bytes: bits.unsigned_abs() as usize / 8, signed }),
        _ => Err(malformed()),
    }
}

fn float(field: Field<'_>) -> Outcome<Kind> {
    match field.type_as_floating_point().ok_or_else(malformed)?.precision() {
        Precision::HALF => Ok(Kind::Float(2)),
        Precision::SINGLE => Ok(Kind::Float(4)),
        Precision::DOUBLE => Ok(Kind::Float(8)),
        _ => Err(malformed()),
    }
}

fn decimal(field: Field<'_>) -> Outcome<Kind> {
    let decimal = field.type_as_decimal().ok_or_else(malformed)?;
    match (decimal.bitWidth(), decimal.scale()) {
        (bits @ (32 | 64 | 128 | 256), scale) if scale.unsigned_abs() <= SCALE_MAX => {
            Ok(Kind::Decimal { bytes: bits.unsigned_abs() as usize / 8, scale })
        }
        _ => Err(malformed()),
    }
}

fn time(field: Field<'_>) -> Outcome<Kind> {
    if let Some(date) = field.type_as_date() {
        return match date.unit() {
            DateUnit::DAY => Ok(Kind::Date32),
            DateUnit::MILLISECOND => Ok(Kind::Date64),
            _ => Err(malformed()),
        };
    }
    if let Some(timestamp) = field.type_as_timestamp() {
        let zoned = timestamp.timezone().is_some_and(|zone| !zone.is_empty());
        return Ok(Kind::Timestamp { unit: unit(timestamp.unit())?, zoned });
    }
    let time = field.type_as_time().ok_or_else(malformed)?;
    match (time.bitWidth(), time.unit()) {
        (32, TimeUnit::SECOND | TimeUnit::MILLISECOND) => Ok(Kind::Time { bytes: 4, unit: unit(time.unit())? }),
        (64, TimeUnit::MICROSECOND | TimeUnit::NANOSECOND) => Ok(Kind::Time { bytes: 8, unit: unit(time.unit())? }),
        _ => Err(malformed()),
    }
}

fn unit(unit: TimeUnit) -> Outcome<Unit> {
    match unit {
        TimeUnit::SECOND => Ok(Unit { per_second: 1, digits: 0 }),
        TimeUnit::MILLISECOND => Ok(Unit { per_second: 1_000, digits: 3 }),
        TimeUnit::MICROSECOND => Ok(Unit { per_second: 1_000_000, digits: 6 }),
        TimeUnit::NANOSECOND => Ok(Unit { per_second: 1_000_000_000, digits: 9 }),
        _ => Err(malformed()),
    }
}

fn fixed(field: Field<'_>) -> Outcome<Kind> {
    let fixed = field.type_as_fixed_size_binary().ok_or_else(malformed)?;
    let bytes = usize::try_from(fixed.byteWidth()).map_err(|_| malformed())?;
    let extension = field.custom_metadata().into_iter().flatten().find(|pair| pair.key() == Some(EXTENSION_NAME));
    match extension.and_then(|pair| pair.value()) {
        Some(UUID_EXTENSION) if bytes == 16 => Ok(Kind::Uuid),
        Some(UUID_EXTENSION) => Err(malformed()),
        _ => Ok(Kind::Fixed(bytes)),
    }
}
