import {
  type Aggregator,
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  type Metric,
  Registry,
} from 'prom-client'
import type { Histogram } from '../process/histogram.ts'

type Labels = Record<string, string>
/** Reports one value of a metric, with its labels. */
type Show = (value: number, labels?: Labels) => void

interface Description {
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
}

interface GaugeDescription extends Description {
  /** How the values of several workers become one. Default: sum */
  readonly aggregator?: Aggregator
}

let nodeMetrics: Registry | undefined

/** Node's own metrics: event loop, memory, garbage collection. Collected once in a process, for all expositions. */
function nodeMetricsOnce(): Registry {
  if (nodeMetrics === undefined) {
    nodeMetrics = new Registry()
    collectDefaultMetrics({ register: nodeMetrics })
  }
  return nodeMetrics
}

/** The metrics of a process. Other modules count; the counts are read only when the metrics are asked for. */
export class Exposition {
  readonly #registry = new Registry()

  /** Adds a counter. @param read shows the counts, which are monotonic */
  counter({ name, help, labels = [] }: Description, read: (show: Show) => void): void {
    new Counter({
      name,
      help,
      labelNames: labels,
      registers: [this.#registry],
      collect() {
        this.reset()
        read((value, own = {}) => this.inc(own, value))
      },
    })
  }

  /** Adds a gauge. @param read shows the current values, or nothing if they are unknown */
  gauge(
    { name, help, labels = [], aggregator = 'sum' }: GaugeDescription,
    read: (show: Show) => void | Promise<void>,
  ): void {
    new Gauge({
      name,
      help,
      labelNames: labels,
      aggregator,
      registers: [this.#registry],
      async collect() {
        this.reset()
        this.remove({})
        await read((value, own = {}) => this.set(own, value))
      },
    })
  }

  /** Adds a histogram. @param read returns histograms, each with its labels */
  histogram({ name, help }: Description, read: () => Iterable<readonly [Histogram, Labels]>): void {
    const get = async () => {
      const values = [...read()].flatMap(([histogram, labels]) => seriesOf(name, histogram, labels))
      return { name, help, type: 'histogram', aggregator: 'sum', values }
    }
    // The registry uses these members only. The library's own histogram cannot be set to existing counts.
    this.#registry.registerMetric({ name, help, type: 'histogram', get } as unknown as Metric)
  }

  /** All metrics in the text format of Prometheus. */
  text(): Promise<string> {
    return this.#whole().metrics()
  }

  /** All metrics as plain objects, for `aggregate`. */
  json(): Promise<object[]> {
    return this.#whole().getMetricsAsJSON()
  }

  #whole(): Registry {
    return Registry.merge([this.#registry, nodeMetricsOnce()])
  }
}

export const CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

/**
 * Merges the metrics of several processes, in the text format of Prometheus.
 *
 * @param all the result of `Exposition.json` of each process
 */
export function aggregate(all: readonly (readonly object[])[]): Promise<string> {
  return AggregatorRegistry.aggregate([...all]).metrics()
}

/**
 * Merges the counters and histograms of exited processes. Gauges are left out: they are current values.
 *
 * @param all results of `Exposition.json` or of this function
 */
export function countersOf(all: readonly (readonly object[])[]): Promise<object[]> {
  const counters = all.map(metrics =>
    metrics.filter(metric => 'type' in metric && MONOTONIC.has(metric.type)),
  )
  return AggregatorRegistry.aggregate(counters).getMetricsAsJSON()
}

const MONOTONIC = new Set<unknown>(['counter', 'histogram'])

function seriesOf(name: string, { bounds, counts, sum }: Histogram, labels: Labels) {
  let count = 0
  const buckets = [...bounds, '+Inf'].map((le, bucket) => {
    count += counts[bucket] as number
    return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ]
}
