/** ceph.conf of a Ceph cluster for tests: a monitor, an object store daemon and a gateway; see radosgw.ts. */

export interface CephSettings {
  dir: string
  fsid: string
  monitorPort: number
  gatewayPort: number
  store: 'memstore' | 'bluestore'
  storeBytes: number
}

export function cephConfig(settings: CephSettings): string {
  return [
    globalSection(settings),
    monitorSection(settings),
    osdSection(settings),
    gatewaySection(settings),
  ].join('')
}

// No authentication, one copy of the data, and no files outside `dir`.
function globalSection({ dir, fsid, monitorPort }: CephSettings): string {
  return `[global]
fsid = ${fsid}
mon host = [v2:127.0.0.1:${monitorPort}/0]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
ms bind ipv6 = false
ms bind msgr1 = false
run dir = ${dir}
admin socket =
log file = ${dir}/$name.log
pid file =
crash dir = ${dir}
log to stderr = false
err to stderr = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
`
}

// By default the monitor collects proposals for a second, which would be most of the time of a start.
function monitorSection({ dir }: CephSettings): string {
  return `[mon]
mon data = ${dir}/mon
mon cluster log file = ${dir}/cluster.log
mon data avail warn = 1
mon data avail crit = 0
mon warn on insecure global id reclaim allowed = false
paxos propose interval = 0.05
paxos min wait = 0.01
`
}

function osdSection({ dir, store, storeBytes }: CephSettings): string {
  return `[osd]
osd data = ${dir}/osd
osd journal = ${dir}/osd/journal
osd objectstore = ${store}
memstore device bytes = ${storeBytes}
bluestore block size = ${storeBytes}
bluestore block create = true
osd memory target = 939524096
osd max object name len = 460
osd max object namespace len = 64
osd op num shards = 2
osd op num threads per shard = 2
osd scrub load threshold = 0
`
}

// - Authentication: the gateway does not read it from [global].
// - Garbage collection: frees deleted data within seconds. The default is two hours.
// - Cache: gateways keep their caches equal by notifications, and a new gateway would wait half a minute for the answer
//   of a killed one.
// - tcp_nodelay: without it the second part of an answer waits for the acknowledgement of the first part, which Linux
//   delays by 40 ms.
function gatewaySection({ gatewayPort }: CephSettings): string {
  return `[client.rgw]
auth client required = none
ms mon client mode = crc
rgw frontends = beast endpoint=127.0.0.1:${gatewayPort} tcp_nodelay=1
rgw thread pool size = 64
rgw rados pool pg num min = 1
rgw cache enabled = false
rgw enable ops log = false
rgw enable usage log = false
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw gc processor max time = 5
`
}
