<?php

// Sends calls by segmentio/analytics-php. Arguments and output: see ../client.ts.

declare(strict_types=1);

use Segment\Client;

// A library that the interpreter loads by itself is not loaded again.
if (!class_exists(Client::class)) {
    require getenv('CLIENT_AUTOLOAD');
}

const TRIES = 7;

$command = $argv[1];
[$count, $batch, $pauseMs] = array_map(intval(...), array_slice($argv, 2)) + [6, 100, 0];
if ($command === 'version') {
    require dirname((new ReflectionClass(Client::class))->getFileName()) . '/Version.php';
    echo 'PHP ', PHP_VERSION, ', analytics-php ', $SEGMENT_VERSION, "\n";
    exit;
}

$errors = [];
$client = new Client(getenv('CLIENT_WRITE_KEY'), [
    // The library puts https:// before the host.
    'host' => preg_replace('~^https://~', '', getenv('CLIENT_URL')),
    'compress_request' => getenv('CLIENT_GZIP') === 'on',
    'flush_at' => $batch,
    'flush_interval' => 1000,
    'error_handler' => function ($code, $message) use (&$errors) {
        $errors[] = [$code, strtr((string)$message, "\n", ' ')];
    },
]);

/** Prints the result of a batch. The library reports success even if its last attempt got 503 or 400. */
function report(bool $succeeded, iterable $numbers): void
{
    global $errors;
    [$code, $message] = end($errors) ?: [0, ''];
    $refused = $code >= 400 && $code < 500 && $code !== 429;
    $sent = $succeeded && !$refused && count($errors) < TRIES;
    foreach ($numbers as $number) {
        echo $sent ? "sent $number\n" : "lost $number $code $message\n";
    }
    $errors = [];
}

if ($command === 'calls') {
    $client->identify(['userId' => '1', 'traits' => ['plan' => 'pro']]);
    $client->track([
        'userId' => '2',
        'event' => 'Signed Up',
        'properties' => ['seats' => 3],
        'timestamp' => gmmktime(3, 4, 5, 1, 2, 2026),
    ]);
    $client->page(['userId' => '3', 'name' => 'Start', 'properties' => ['path' => '/']]);
    $client->screen(['userId' => '4', 'name' => 'Home', 'properties' => ['dark' => true]]);
    $client->group(['userId' => '5', 'groupId' => 'g1', 'traits' => ['name' => 'Acme']]);
    $client->alias(['userId' => '6', 'previousId' => 'a1']);
    report($client->flush(), range(1, 6));
} else {
    // The call that completes a batch sends it.
    for ($from = 1; $from <= $count; $from += $batch) {
        $numbers = range($from, min($count, $from + $batch - 1));
        foreach ($numbers as $number) {
            $succeeded = $client->track([
                'userId' => (string)$number,
                'event' => 'Counted',
                'properties' => ['n' => $number],
            ]);
        }
        report($succeeded && $client->flush(), $numbers);
        if (in_array(intdiv($count, 4) * 3, $numbers, true)) {
            fgets(STDIN);
        }
        usleep($pauseMs * 1000);
    }
}
