/** The Avro schemas of manifests and manifest lists. Source: Iceberg specification, version 2, "Manifests". */

import type { AvroSchema } from './avro-file.ts'

function required(id: number, name: string, type: AvroSchema): AvroSchema {
  return { name, type, 'field-id': id }
}

function optional(id: number, name: string, type: AvroSchema): AvroSchema {
  return { name, type: ['null', type], default: null, 'field-id': id }
}

/** A map with keys of integers, which Avro has as an array of pairs. */
function byFieldId(key: number, value: number, type: AvroSchema): AvroSchema {
  const items = {
    type: 'record',
    name: `k${key}_v${value}`,
    fields: [required(key, 'key', 'int'), required(value, 'value', type)],
  }
  return { type: 'array', logicalType: 'map', items }
}

const PARTITION: AvroSchema = {
  type: 'record',
  name: 'r102',
  fields: [optional(1000, 'received_at_hour', 'int')],
}

const DATA_FILE: AvroSchema = {
  type: 'record',
  name: 'r2',
  fields: [
    required(134, 'content', 'int'),
    required(100, 'file_path', 'string'),
    required(101, 'file_format', 'string'),
    required(102, 'partition', PARTITION),
    required(103, 'record_count', 'long'),
    required(104, 'file_size_in_bytes', 'long'),
    optional(108, 'column_sizes', byFieldId(117, 118, 'long')),
    optional(109, 'value_counts', byFieldId(119, 120, 'long')),
    optional(110, 'null_value_counts', byFieldId(121, 122, 'long')),
    optional(125, 'lower_bounds', byFieldId(126, 127, 'bytes')),
    optional(128, 'upper_bounds', byFieldId(129, 130, 'bytes')),
  ],
}

export const MANIFEST_ENTRY: AvroSchema = {
  type: 'record',
  name: 'manifest_entry',
  fields: [
    required(0, 'status', 'int'),
    optional(1, 'snapshot_id', 'long'),
    optional(3, 'sequence_number', 'long'),
    optional(4, 'file_sequence_number', 'long'),
    required(2, 'data_file', DATA_FILE),
  ],
}

const PARTITION_SUMMARY: AvroSchema = {
  type: 'record',
  name: 'r508',
  fields: [
    required(509, 'contains_null', 'boolean'),
    optional(518, 'contains_nan', 'boolean'),
    optional(510, 'lower_bound', 'bytes'),
    optional(511, 'upper_bound', 'bytes'),
  ],
}

export const MANIFEST_FILE: AvroSchema = {
  type: 'record',
  name: 'manifest_file',
  fields: [
    required(500, 'manifest_path', 'string'),
    required(501, 'manifest_length', 'long'),
    required(502, 'partition_spec_id', 'int'),
    required(517, 'content', 'int'),
    required(515, 'sequence_number', 'long'),
    required(516, 'min_sequence_number', 'long'),
    required(503, 'added_snapshot_id', 'long'),
    required(504, 'added_files_count', 'int'),
    required(505, 'existing_files_count', 'int'),
    required(506, 'deleted_files_count', 'int'),
    required(512, 'added_rows_count', 'long'),
    required(513, 'existing_rows_count', 'long'),
    required(514, 'deleted_rows_count', 'long'),
    optional(507, 'partitions', { type: 'array', items: PARTITION_SUMMARY, 'element-id': 508 }),
  ],
}
