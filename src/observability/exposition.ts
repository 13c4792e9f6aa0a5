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
/** Gives a value, and the labels it has. */
type Show = (value: number, labels?: Labels) => void

interface Description {
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
}

interface GaugeDescription extends Description {
  /** What several processes behind one port make of it together. Default: sum. */
  readonly aggregator?: Aggregator
}

let process: Registry | undefined

/** Metrics of this process itself (event loop, memory, garbage collection); one set, whoever asks. */
function processMetrics(): Registry {
  if (process === undefined) {
    process = new Registry()
    collectDefaultMetrics({ register: process })
  }
  return process
}

/** Metrics that are read from numbers which are counted elsewhere, and only when somebody asks for them. */
export class Exposition {
  readonly #registry = new Registry()

  /** @param read shows the counts, which only grow */
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

  /** @param read shows what there is now, and nothing where that is not known */
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

  /** @param read gives the histograms, each with its labels */
  histogram({ name, help }: Description, read: () => Iterable<readonly [Histogram, Labels]>): void {
    const get = async () => {
      const values = [...read()].flatMap(([histogram, labels]) => seriesOf(name, histogram, labels))
      return { name, help, type: 'histogram', aggregator: 'sum', values }
    }
    // The registry asks for no more than this; the library's own histogram cannot take counts that are there.
    this.#registry.registerMetric({ name, help, type: 'histogram', get } as unknown as Metric)
  }

  /** In the text format of Prometheus. */
  text(): Promise<string> {
    return this.#whole().metrics()
  }

  /** The same, as plain objects which `aggregate` takes. */
  json(): Promise<object[]> {
    return this.#whole().getMetricsAsJSON()
  }

  #whole(): Registry {
    return Registry.merge([this.#registry, processMetrics()])
  }
}

export const CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

/**
 * What several processes have, as one, in the text format of Prometheus.
 *
 * @param all what `Exposition.json` gave in each of them
 */
export function aggregate(all: readonly (readonly object[])[]): Promise<string> {
  return AggregatorRegistry.aggregate([...all]).metrics()
}

/**
 * What of the metrics of processes that are gone is still true: what only grows.
 *
 * @param all what `Exposition.json` gave, or this function
 */
export function whatOnlyGrows(all: readonly (readonly object[])[]): Promise<object[]> {
  const growing = all.map(metrics => metrics.filter(metric => 'type' in metric && GROWING.has(metric.type)))
  return AggregatorRegistry.aggregate(growing).getMetricsAsJSON()
}

const GROWING = new Set<unknown>(['counter', 'histogram'])

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
