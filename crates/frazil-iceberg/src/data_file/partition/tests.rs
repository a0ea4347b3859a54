//! Splitting without files.

use std::sync::Arc;

use arrow_array::{Array, Int64Array, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{Literal, NestedField, UnboundPartitionSpec};

use super::*;

fn nested_schema() -> Schema {
    let inner = StructType::new(vec![Arc::new(NestedField::optional(2, "id", Type::Primitive(PrimitiveType::Long)))]);
    Schema::builder()
        .with_fields([Arc::new(NestedField::optional(1, "user", Type::Struct(inner)))])
        .build()
        .expect("valid")
}

fn partitioner(schema: &Schema, fields: &[(i32, Transform)]) -> Partitioner {
    let mut spec = UnboundPartitionSpec::builder();
    for (index, (source, transform)) in fields.iter().enumerate() {
        spec = spec.add_partition_field(*source, format!("p{index}"), *transform).expect("valid");
    }
    let spec = spec.build().bind(schema.clone()).expect("binds");
    let types = spec.partition_type(schema).expect("types");
    Partitioner::new(&spec, &types, schema).expect("valid")
}

fn users(schema: &Schema, ids: Vec<Option<i64>>, users: Vec<bool>) -> RecordBatch {
    let arrow = Arc::new(schema_to_arrow_schema(schema).expect("convertible"));
    let DataType::Struct(fields) = arrow.field(0).data_type() else { panic!("a struct") };
    let ids: ArrayRef = Arc::new(Int64Array::from(ids));
    let column = StructArray::new(fields.clone(), vec![ids], Some(NullBuffer::from(users)));
    RecordBatch::try_new(arrow, vec![Arc::new(column)]).expect("fits")
}

#[test]
fn a_source_inside_a_struct_is_null_where_the_struct_is() {
    let schema = nested_schema();
    // The third row's struct is null, although its child holds a value.
    let batch = users(&schema, vec![Some(1), None, Some(1), Some(2)], vec![true, true, false, true]);
    assert!(batch.column(0).is_null(2));
    let partitions = partitioner(&schema, &[(2, Transform::Identity)]).split(&[batch]).expect("splits");
    let rows = |partition: &Partition| partition.rows.indices().map(|(_, row)| row).collect::<Vec<_>>();
    let found: Vec<_> = partitions.iter().map(|partition| (partition.values[0].clone(), rows(partition))).collect();
    assert_eq!(found, [(Some(Literal::long(1)), vec![0]), (None, vec![1, 2]), (Some(Literal::long(2)), vec![3])]);
}

#[test]
fn partitions_go_on_across_batches() {
    let schema = nested_schema();
    let one = users(&schema, vec![Some(1), Some(2)], vec![true; 2]);
    let two = users(&schema, vec![Some(2), Some(1)], vec![true; 2]);
    let partitions = partitioner(&schema, &[(2, Transform::Identity)]).split(&[one, two]).expect("splits");
    let rows: Vec<Vec<_>> = partitions.iter().map(|partition| partition.rows.indices().collect()).collect();
    assert_eq!(rows, [vec![(0, 0), (1, 1)], vec![(0, 1), (1, 0)]]);
}

#[test]
fn void_fields_are_null_and_split_nothing() {
    let schema = nested_schema();
    let batch = users(&schema, vec![Some(1), Some(2)], vec![true; 2]);
    let only_void = partitioner(&schema, &[(2, Transform::Void)]).split(std::slice::from_ref(&batch)).expect("splits");
    assert_eq!(only_void.len(), 1);
    assert_eq!(only_void[0].values.fields(), [None]);
    let mixed =
        partitioner(&schema, &[(2, Transform::Void), (2, Transform::Identity)]).split(&[batch]).expect("splits");
    assert_eq!(mixed[1].values.fields(), [None, Some(Literal::long(2))]);
}

#[test]
fn no_rows_make_no_partitions() {
    let schema = nested_schema();
    let empty = users(&schema, vec![], vec![]);
    for fields in [vec![], vec![(2, Transform::Identity)]] {
        assert!(partitioner(&schema, &fields).split(std::slice::from_ref(&empty)).expect("splits").is_empty());
    }
}

#[test]
fn two_fields_of_one_fixed_type_are_refused() {
    let fixed =
        |id: i32| Arc::new(NestedField::optional(id, format!("f{id}"), Type::Primitive(PrimitiveType::Fixed(3))));
    let schema = Schema::builder().with_fields([fixed(1), fixed(2)]).build().expect("valid");
    let spec = UnboundPartitionSpec::builder().add_partition_field(1, "p", Transform::Identity).expect("valid");
    let spec = spec.add_partition_field(2, "q", Transform::Identity).expect("valid");
    let spec = spec.build().bind(schema.clone()).expect("binds");
    let types = spec.partition_type(&schema).expect("types");
    let error = Partitioner::new(&spec, &types, &schema).expect_err("refused");
    assert!(matches!(&error, StageError::Schema { reason } if reason.contains("fixed[3]")), "{error}");
}
